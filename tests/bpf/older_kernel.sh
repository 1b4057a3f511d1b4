#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The kernel programs on an older kernel for real: boots it in qemu with the crafted packets of
# bpf_packets, and with frames on which the model says what is right. Not part of the ordinary run: it
# takes minutes and wants qemu-system-x86, busybox-static and cpio.
#
#   tests/bpf/older_kernel.sh [VMLINUZ]    without one: Debian's linux-image-cloud-amd64 (6.1); 5.15: see tests/README.md
#
# CORDON_BUILD is a build of release kind with the targets bpf_packets and bpf_oracle; FRAMES and SEED are
# test_model.py's; ACCEL=kvm where that works. Exit 0 when all passed there.
set -euo pipefail
cd "$(dirname "$0")/../.."

build=${CORDON_BUILD:-$PWD/build/release}
frames=${FRAMES:-2000} seed=${SEED:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

for tool in qemu-system-x86_64 busybox cpio; do
    command -v "$tool" >/dev/null || { echo "older_kernel.sh: $tool is missing: apt-get install qemu-system-x86 busybox-static cpio" >&2; exit 2; }
done
for program in bpf_packets bpf_oracle; do
    [ -x "$build/tests/$program" ] || { echo "older_kernel.sh: $build/tests/$program is not built" >&2; exit 2; }
done

kernel=${1:-}
if [ -z "$kernel" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
    (cd "$work" && apt-get download -q "$package" >/dev/null 2>&1 && dpkg-deb -x "$package"_*.deb kernel)
    kernel=$(echo "$work"/kernel/boot/vmlinuz-*)
fi

# What the guest runs: the programs with their libraries, and nothing else but busybox.
mkdir -p "$root"/{bin,proc,sys,dev,tmp,run}
cp "$(command -v busybox)" "$root/bin/busybox"
for program in bpf_packets bpf_oracle; do
    cp "$build/tests/$program" "$root/bin/"
    ldd "$build/tests/$program" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
done
/usr/bin/python3 tests/bpf/script.py --frames "$frames" --seed "$seed" "$root/commands" "$root/expected"

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/shm
mount -t tmpfs none /dev/shm
mount -t tmpfs none /tmp
mount -t bpf none /sys/fs/bpf
ip link set lo up
echo "== $(uname -r)"
cd /tmp
bpf_packets --color=never --filter "!(hooks)/*" 2>&1 # those want virtual ports, whose module is not here
echo "== packets $?"
bpf_oracle </commands >/tmp/answers
echo "== oracle $?"
diff /expected /tmp/answers | head -n 20
cmp /expected /tmp/answers && echo "== same $(wc -l </tmp/answers)"
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs"

timeout "${TIMEOUT:-1800}" qemu-system-x86_64 -accel "${ACCEL:-tcg}" -cpu max -smp 1 -m 1024 -nographic -no-reboot \
    -kernel "$kernel" -initrd "$work/initramfs" -append 'console=ttyS0 quiet panic=-1' </dev/null | stdbuf -oL tr -d '\r' | tee "$work/log"

grep -aq '== packets 0' "$work/log" && grep -aq '== oracle 0' "$work/log" && grep -aq '== same' "$work/log" ||
    { echo "older_kernel.sh: not all passed" >&2; exit 1; }
echo "older_kernel.sh: passed on $(grep -a -m1 -o '== [0-9][^ ]*' "$work/log" | cut -c4-)"
