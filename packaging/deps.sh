#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Installs what Cordon needs on Debian 12 to be built, run and tested, and makes the user and group
# `cordon`. Says one line when there is nothing to do; running it again does no harm.
set -eu

build='build-essential cmake ninja-build pkg-config clang llvm libbpf-dev bpftool libnl-3-dev
    libnl-route-3-dev libwolfssl-dev libmicrohttpd-dev libconfig-dev libcbor-dev libjansson-dev
    libsqlite3-dev libgcrypt20-dev libseccomp-dev libcap-ng-dev libcurl4-openssl-dev libwslay-dev'
run='mosquitto mosquitto-clients openssl curl jq iproute2 iputils-ping ethtool procps util-linux ca-certificates'
test='libcriterion-dev clang-format python3-pytest python3-cbor2 python3-cryptography
    python3-paho-mqtt libmosquitto-dev libpaho-mqtt-dev python3-scapy arping ndisc6 dnsmasq-base socat tcpdump
    iperf3 busybox-static
    valgrind chromium fonts-dejavu-core'

[ "$(id -u)" -eq 0 ] || { echo "deps.sh: run me as root: sudo packaging/deps.sh" >&2; exit 1; }
command -v apt-get >/dev/null || { echo "deps.sh: this is not Debian; see README.md for what is needed" >&2; exit 1; }

# A node of another origin is fine, if it is new enough and brings npm; two would be in each other's way.
node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
if [ "${node_major:-0}" -ge 18 ] && command -v npm >/dev/null; then node=; else node='nodejs npm'; fi

missing=
for package in $build $run $test $node; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done

did=
if [ -n "$missing" ]; then
    echo "Installing (some minutes):$missing"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "deps.sh: apt-get failed, see above" >&2
        exit 1
    fi
    # The broker is here as a program for the demo and the tests, not as a service of this machine.
    if [ -d /run/systemd/system ] && echo "$missing " | grep -q ' mosquitto '; then
        systemctl disable --now --quiet mosquitto.service || true
    fi
    did=yes
fi

if ! getent group cordon >/dev/null; then
    groupadd --system cordon
    did=yes
fi
if ! getent passwd cordon >/dev/null; then
    useradd --system --gid cordon --home-dir /var/lib/cordon --no-create-home \
        --shell /usr/sbin/nologin --comment 'Cordon gateway' cordon
    did=yes
fi

if [ -n "$did" ]; then echo "All that Cordon needs is installed."; else echo "Nothing to install."; fi
