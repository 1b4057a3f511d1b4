#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Cordon's story, live, in network namespaces of its own: a gateway with two LAN ports, a camera, a
# bad plug, and a real broker as the cloud. Keeps running until Ctrl-C, removes all it made.
#   packaging/demo.sh          play, then stay for you to try the page
#   packaging/demo.sh --once   play to the end; exit 0 only if each step was seen to happen
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repo=$(dirname "$here")
build=${CORDON_BUILD:-$repo/build/release}
once=
case "${1:-}" in
--once) once=yes ;;
'') ;;
-h | --help) echo "usage: packaging/demo.sh [--once]"; exit 0 ;;
*) echo "usage: packaging/demo.sh [--once]" >&2; exit 2 ;;
esac
[ "$(id -u)" -eq 0 ] || { echo "demo.sh: network namespaces need root: sudo packaging/demo.sh" >&2; exit 1; }

id=$$
work=
names=()
host_link=
daemon=
holders=()

# ---- saying ----

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else bold= dim= green= red= plain=; fi
exec 3>&1 # where we say things, also while a command's own words are dropped
chapter() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
seen() { printf '  %s✓%s %s\n' "$green" "$plain" "$*"; }
fail() {
    printf '  %s✗ %s%s\n' "$red" "$*" "$plain" >&2
    [ -n "$work" ] && [ -s "$work/cordond.log" ] && { echo "  cordond said last:" >&2; tail -n 25 "$work/cordond.log" | sed 's/^/    /' >&2; }
    exit 1
}

# await SECONDS WHAT COMMAND…: until the command succeeds.
await() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "not seen: $what"
        sleep 0.1
    done
    seen "$what"
}

# ---- namespaces; a holder process keeps each one's mounts, so that what is pinned outlives a daemon ----

ns_add() {
    local name=cordon-demo-$id-$1 pid tries=0
    names+=("$name")
    ip netns add "$name" || fail "no network namespace could be made"
    ip netns exec "$name" sh -c 'mount -t bpf bpf /sys/fs/bpf && exec sleep infinity' &
    pid=$!
    holders+=("$pid")
    eval "pid_$1=$pid"
    until [ "$(stat -Lc %i /proc/$pid/ns/net 2>/dev/null)" = "$(stat -c %i "/run/netns/$name")" ] &&
        nsenter -t "$pid" -m mountpoint -q /sys/fs/bpf; do
        kill -0 "$pid" 2>/dev/null && [ $((tries++)) -lt 200 ] || fail "$name could not get a bpf file system of its own"
        sleep 0.05
    done
    in_ns "$1" ip link set lo up
    in_ns "$1" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 || true
}
in_ns() {
    local pid=pid_$1
    shift
    nsenter -t "${!pid}" -n -m -- "$@"
}
# For the background: the process is the program itself, so that $! is its pid.
bg_ns() {
    local pid=pid_$1
    shift
    exec nsenter -t "${!pid}" -n -m -- "$@"
}

tidy() {
    trap - EXIT
    trap '' INT TERM HUP # once is enough
    exec 2>/dev/null # bash would report each process that is killed here
    [ -n "$once" ] || printf '\n%sRemoving what the demo made …%s\n' "$dim" "$plain" >&3
    [ -n "$daemon" ] && kill "$daemon" 2>/dev/null && for _ in $(seq 50); do kill -0 "$daemon" 2>/dev/null || break; sleep 0.1; done
    [ -n "$daemon" ] && [ -n "${pid_gw:-}" ] && in_ns gw "$build/cordond" --unpin >/dev/null 2>&1
    local name pid
    for name in "${names[@]}"; do
        for pid in $(ip netns pids "$name" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
    done
    for pid in "${holders[@]}"; do wait "$pid" 2>/dev/null; done
    for name in "${names[@]}"; do ip netns del "$name" 2>/dev/null; done
    [ -n "$host_link" ] && ip link del "$host_link" 2>/dev/null
    [ -n "$work" ] && rm -rf "$work"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- install and build ----

progress() {
    local line last=-1 percent
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$1"
        [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
        percent=$((BASH_REMATCH[1] * 100 / BASH_REMATCH[2]))
        if [ -t 1 ]; then printf '\r  building %3d %%' "$percent"
        elif [ $((percent / 20)) -gt $((last / 20)) ]; then say "building $percent %"; fi
        last=$percent
    done
    [ -t 1 ] && [ "$last" -ge 0 ] && printf '\r\e[K'
    return 0
}

chapter "Cordon"
"$here/deps.sh" | sed -u 's/^/  /' || exit 1
work=$(mktemp -d /tmp/cordon-demo.XXXXXX)
chmod 755 "$work"
if [ ! -f "$build/CMakeCache.txt" ]; then
    cmake -S "$repo" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo >"$work/build.log" 2>&1 ||
        { tail -n 20 "$work/build.log" >&2; fail "cmake could not configure"; }
fi
cmake --build "$build" --target cordond cordon 2>&1 | progress "$work/build.log" ||
    { grep -v '^\[[0-9]*/[0-9]*\]' "$work/build.log" | tail -n 30 >&2; fail "the build failed"; }
cordon_bin=$build/cordon
seen "built in $build"

# ---- the site ----

chapter "A house: a gateway, a camera, a plug, and a cloud far away"
for n in gw cloud cam plug; do ns_add "$n"; done
gw_name=cordon-demo-$id-gw

in_ns gw ip link add br0 type bridge forward_delay 0 mcast_snooping 0
in_ns gw ip address add 192.168.77.1/24 dev br0
in_ns gw ip address add fd77::1/64 dev br0 nodad
in_ns gw ip link set br0 up
port() { # NAMESPACE PORT NUMBER
    ip link add "$2" netns "$gw_name" type veth peer name eth0 address "02:00:00:00:77:0$3" netns "cordon-demo-$id-$1"
    in_ns gw ip link set "$2" master br0 up
    in_ns "$1" ip link set eth0 up
    in_ns "$1" ip address add "192.168.77.1$3/24" dev eth0
    in_ns "$1" ip address add "fd77::1$3/64" dev eth0 nodad
}
port cam lan1 1
port plug lan2 2
ip link add wan0 netns "$gw_name" type veth peer name eth0 netns "cordon-demo-$id-cloud"
in_ns gw ip address add 10.77.0.1/30 dev wan0
in_ns gw ip link set wan0 up
in_ns cloud ip address add 10.77.0.2/30 dev eth0
in_ns cloud ip link set eth0 up
in_ns gw ip route add default via 10.77.0.2

# A link from this machine, for your browser: the first documentation range that is free here.
page=
for net in 192.0.2 198.51.100 203.0.113; do
    [ -z "$(ip -4 route show root "$net.0/24" 2>/dev/null)" ] || continue
    host_link=cdm$id
    ip link add "$host_link" type veth peer name adm0 netns "$gw_name"
    ip address add "$net.1/30" dev "$host_link"
    ip link set "$host_link" up
    in_ns gw ip address add "$net.2/30" dev adm0
    in_ns gw ip link set adm0 up
    page=$net.2
    break
done
[ -n "$page" ] || fail "no documentation range is free on this machine for the page's address"

# ---- the cloud ----

cloud=$work/cloud
mkdir "$cloud"
ec="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
{
    openssl req -x509 $ec -keyout "$cloud/ca.key" -out "$cloud/ca.pem" -days 7 -subj '/CN=Demo cloud CA' &&
        openssl req $ec -keyout "$cloud/broker.key" -out "$cloud/broker.csr" -subj /CN=cloud &&
        openssl x509 -req -in "$cloud/broker.csr" -CA "$cloud/ca.pem" -CAkey "$cloud/ca.key" -CAcreateserial -days 7 \
            -extfile <(echo subjectAltName=IP:10.77.0.2) -out "$cloud/broker.pem"
} >"$work/openssl.log" 2>&1 || { cat "$work/openssl.log" >&2; fail "openssl failed"; }
chmod 644 "$cloud/broker.key"
cat >"$cloud/mosquitto.conf" <<EOF
listener 8883
cafile $cloud/ca.pem
certfile $cloud/broker.pem
keyfile $cloud/broker.key
allow_anonymous true
log_dest none
EOF
"$cordon_bin" envelope keygen --out "$cloud/reader" >/dev/null || fail "cordon envelope keygen failed"
bg_ns cloud mosquitto -c "$cloud/mosquitto.conf" >"$work/broker.log" 2>&1 &
await 10 "the cloud's broker listens (mosquitto with TLS)" in_ns cloud sh -c 'ss -ltn | grep -q :8883'
broker=(-h 10.77.0.2 -p 8883 --cafile "$cloud/ca.pem")
bg_ns cloud mosquitto_sub "${broker[@]}" -t 'cordon/+/up/#' -F '%t %x' >"$work/sealed" 2>&1 &
bg_ns cloud stdbuf -oL "$cordon_bin" envelope follow --broker mqtts://10.77.0.2:8883 --key "$cloud/reader.key" \
    --ca "$cloud/ca.pem" >"$work/opened" 2>"$work/follow.log" &

# ---- the gateway ----

cat >"$work/cordon.conf" <<EOF
gateway = { name = "Demo house"; state_dir = "$work/state"; run_dir = "$work/run"; };
lan = { interfaces = [ "lan1", "lan2" ]; };
uplink = {
    brokers = [ "mqtts://10.77.0.2:8883" ];
    ca_file = "$cloud/ca.pem";
    recipients = [ "$cloud/reader.pub" ];
};
EOF
start_daemon() {
    bg_ns gw "$build/cordond" -c "$work/cordon.conf" >>"$work/cordond.log" 2>&1 &
    daemon=$!
}
cordon() { in_ns gw "$cordon_bin" --socket "$work/run/admin.sock" "$@"; }
field() { cordon "${@:2}" --json | jq -e "$1"; }
start_daemon
await 20 "cordond runs: an enforcer with privileges, a worker with none" cordon status
await 10 "both LAN ports are guarded in the kernel" field \
    '[.isolation.interfaces[] | select((.name == "lan1" or .name == "lan2") and .ingress != "none" and .egress != "none")] | length == 2' status
await 15 "it is connected to the cloud" field '.uplink.state == "connected"' status

# ---- the camera gets an identity ----

chapter "A camera is plugged in and gets an identity, with curl and openssl"
cam=$work/cam
mkdir "$cam"
code=$(cordon pair --for 10m --json | jq -r .code)
[ -n "$code" ] || fail "no pairing code"
say "cordon pair                      → $code"
est=https://192.168.77.1:8443/.well-known/est
in_ns cam curl -sS -k "$est/cacerts" | openssl base64 -d | openssl pkcs7 -inform DER -print_certs -out "$cam/ca.pem" 2>/dev/null
openssl ecparam -name prime256v1 -genkey -noout -out "$cam/key.pem" 2>/dev/null
openssl req -new -key "$cam/key.pem" -subj /CN=cam-1 -outform DER | openssl base64 >"$cam/request"
say "curl …/.well-known/est/simpleenroll"
in_ns cam curl -sS --fail --cacert "$cam/ca.pem" -u "installer:$code" -H 'Content-Type: application/pkcs10' \
    --data-binary "@$cam/request" "$est/simpleenroll" 2>"$cam/error" |
    openssl base64 -d | openssl pkcs7 -inform DER -print_certs -out "$cam/cert.pem" 2>/dev/null
await 1 "openssl verifies the camera's certificate against the gateway's CA" openssl verify -CAfile "$cam/ca.pem" "$cam/cert.pem"
cordon approve cam-1 --name "Front door camera" --class camera >/dev/null || fail "the camera could not be named"

# ---- it talks; the cloud reads ----

chapter "It talks; only the cloud can read it"
mqtt=(-h 192.168.77.1 -p 8883 --cafile "$cam/ca.pem" --cert "$cam/cert.pem" --key "$cam/key.pem")
say 'mosquitto_pub -q 1 -t d/cam-1/motion -m "someone is at the door"'
in_ns cam mosquitto_pub "${mqtt[@]}" -q 1 -t d/cam-1/motion -m 'someone is at the door' || fail "the camera could not publish"
seen "acknowledged: it is on the gateway's disk"
await 15 "the broker has it, sealed" grep -q '/up/d/cam-1/motion ' "$work/sealed"
say "what the broker sees:  $(grep -m1 '/up/d/cam-1/motion ' "$work/sealed" | cut -d' ' -f2 | cut -c1-44)…"
! grep -qi "$(printf 'someone' | od -An -tx1 | tr -d ' \n')" "$work/sealed" || fail "it is readable at the broker"
await 15 "cordon envelope follow opens it" grep -q 'someone is at the door' "$work/opened"
say "what the cloud reads:  $(grep -m1 'someone is at the door' "$work/opened" | jq -c '{device, topic, sequence, payload}')"

# ---- its absence is noticed ----

chapter "Its absence is noticed, with a cause"
bg_ns cam mosquitto_sub "${mqtt[@]}" -t d/cam-1/commands >/dev/null 2>&1 &
session=$!
await 10 "cam-1 is online" field '.presence.status == "online"' device cam-1
say "kill -9 of the camera's client"
disown "$session" # bash would report its death
kill -9 "$session"
await 10 "cam-1 is offline: its connection was reset" field '.presence.status == "offline" and .presence.cause == "reset"' device cam-1

# ---- a bad one is cut off ----

chapter "A plug turns bad and is cut off in the kernel"
plug_mac=02:00:00:00:77:02
plug=mac-020000007702
out() { in_ns plug ping -n -q -c 1 -W 1 192.168.77.1; }
back() { in_ns gw ping -n -q -c 1 -W 1 192.168.77.12; }
out6() { in_ns plug ping -n -q -c 1 -W 1 fd77::1; }
silent() { ! out && ! back && ! out6 && ! in_ns plug ping -n -q -c 1 -W 1 192.168.77.11; }
await 10 "the plug pings the gateway, and the camera" in_ns plug ping -n -q -c 1 -W 1 192.168.77.11
await 10 "the gateway pings it" back
await 15 "Cordon has seen it, though it never spoke to Cordon" field '.id' device "$plug"
say "cordon quarantine $plug_mac --reason 'scans the network'"
cordon quarantine "$plug_mac" --reason 'scans the network' >/dev/null || fail "the quarantine was refused"
await 3 "not one ping passes any more: to the gateway, from it, to the camera, IPv4 and IPv6" silent
await 10 "the drops are counted" field '.quarantine.dropped_packets > 0' device "$plug"
worker() { pgrep -P "$daemon" -f -- --worker; }
old=$(worker)
say "kill -9 of the worker ($old)"
kill -9 "$old"
await 1 "still cut off while the worker is dead" silent
fresh() { local now; now=$(worker) && [ -n "$now" ] && [ "$now" != "$old" ] && cordon status; }
await 20 "the enforcer started a new worker" fresh
await 3 "still cut off" silent
say "cordon release $plug_mac"
cordon release "$plug_mac" >/dev/null || fail "the release was refused"
await 5 "released: it pings again, both ways" eval 'out && back && out6'

# ---- a person sees it all ----

chapter "A person sees it all"
curl_page() { in_ns gw curl -sk --fail --compressed "https://$page/" | grep -q 'id="app"'; }
await 10 "the page answers" curl_page
setup=$(cordon setup-code --json | jq -r .code)
[ -n "$setup" ] || fail "no setup code"
printf '\n  %sThe page:        https://%s/%s   (the gateway signs its own certificate; your browser will ask)\n' "$bold" "$page" "$plain"
printf '  %sThe setup code:  %s%s\n' "$bold" "$setup" "$plain"
if [ -n "$once" ]; then
    seen "every step was seen to happen"
    exit 0
fi

# ---- until Ctrl-C ----

printf '\n  The camera goes on talking and the plug goes on pinging. Put mac-020000007702 in quarantine on\n'
printf '  the page and watch it here. Ctrl-C ends the demo.\n\n'
bg_ns cam sh -c 'n=0; while :; do n=$((n + 1)); echo "{\"frame\":$n}"; sleep 2; done |
    mosquitto_pub "$@" -q 1 -t d/cam-1/motion -l' sh "${mqtt[@]}" >/dev/null 2>&1 &
state=
told=0
while kill -0 "$daemon" 2>/dev/null; do
    if out >/dev/null 2>&1; then now='pings: answered'; else now='pings: nothing passes'; fi
    [ "$now" = "$state" ] || say "$(date +%T)  the plug $now"
    state=$now
    lines=$(wc -l <"$work/opened")
    if [ $((lines / 10)) -gt $((told / 10)) ]; then say "$(date +%T)  the cloud has opened $lines messages"; fi
    told=$lines
    sleep 1
done
fail "cordond ended"
