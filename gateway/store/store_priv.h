/* SPDX-License-Identifier: GPL-2.0-only */
/** @file Inside room store. */
#pragma once

#include "store/store.h"

/** Finalize every statement that this thread prepared; before its database is closed. */
void sql_forget(void);
