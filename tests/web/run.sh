#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The page in a real browser, and MQTT.js, on the real daemon. CORDON_BUILD names the build directory; SHOTS, if
# set, a directory for screenshots.
set -eu
cd "$(dirname "$0")"
[ -d node_modules/playwright-core ] && [ -d node_modules/mqtt ] || npm ci --loglevel=error --no-progress
exec /usr/bin/python3 serve.py "$@"
