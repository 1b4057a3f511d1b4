/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/error.h"

#include <errno.h>
#include <string.h>

static const struct {
    enum gw_error_class class;
    const char *name;
    const char *text;
} errors[] = {
#define X(code, cls, text) {GW_CLASS_##cls, #code, text},
    GW_ERRORS(X)
#undef X
};

static int index_of(int err)
{
    return err > GW_ERROR_FIRST_ && err < GW_ERROR_END_ ? err - GW_ERROR_FIRST_ - 1 : -1;
}

enum gw_error_class gw_error_class(int err)
{
    int i = index_of(err);

    if (i >= 0)
        return errors[i].class;
    return err == -EAGAIN ? GW_CLASS_WAIT : GW_CLASS_LOCAL;
}

const char *gw_error_text(int err)
{
    int i = index_of(err);
    const char *text;

    if (i >= 0)
        return errors[i].text;
    if (err >= 0)
        return "done";
    text = strerrordesc_np(-err);
    return text ? text : "unknown error";
}

const char *gw_error_name(int err)
{
    int i = index_of(err);
    const char *name;

    if (i >= 0)
        return errors[i].name;
    name = err < 0 ? strerrorname_np(-err) : "OK";
    return name ? name : "unknown";
}
