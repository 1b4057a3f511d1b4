#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Installs what is missing, builds everything in every way that we ship or check, and runs every
# test. `tests/run.sh SUITE…` runs only the named ones: checks unit bpf system web demo.
# Exit 0 only if every suite ran at least one test and none failed.
set -uo pipefail
cd "$(dirname "$0")/.."

suites=${*:-checks unit bpf system web demo}
jobs=$(nproc)
failed=()
start=$SECONDS

say() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - start)); }
fault() { failed+=("$1"); printf 'FAILED: %s\n' "$1"; }
wants() { [[ " $suites " == *" $1 "* ]]; }

# configure DIR OPTION…: once, then build quietly; the log is shown only when it fails.
build() {
    local dir=$1 log=$1.log
    shift
    say "build $dir"
    mkdir -p build
    if ! { cmake -S . -B "$dir" -G Ninja "$@" && ninja -C "$dir" -j "$jobs"; } >"$log" 2>&1; then
        grep -nE 'error|FAILED|warning:' "$log" | head -n 30
        tail -n 30 "$log"
        fault "build $dir"
        return 1
    fi
}

checks() {
    say checks
    /usr/bin/python3 tests/check_rooms.py || fault 'rooms'
    local sources
    mapfile -t sources < <(find bpf gateway tests web -name node_modules -prune -o -name '*.[ch]' ! -name 'vmlinux*' -print)
    clang-format-14 --dry-run -Werror "${sources[@]}" >build/format.log 2>&1 ||
        { grep error: build/format.log | cut -d: -f1 | sort | uniq -c; fault 'format'; }
    local scripts
    mapfile -t scripts < <(find packaging tests .ci -name node_modules -prune -o \( -name '*.sh' -o -path .ci/run \) -print)
    for script in "${scripts[@]}"; do bash -n "$script" || fault "syntax of $script"; done
    ! grep -nE '"resolved"|registry' web/package-lock.json tests/web/package-lock.json || fault 'lock files name hosts'
    echo "checks: ${#sources[@]} sources, ${#scripts[@]} scripts"
}

# programs PREFIX: every Criterion program of that name, with its own closing line.
programs() {
    local ran=0 program name log
    for program in build/sanitize/tests/"$1"_*; do
        [ -x "$program" ] && [ -f "$program" ] || continue
        name=$(basename "$program")
        [ "$name" != bpf_oracle ] || continue # answers a test, and is none
        log=build/$name.log
        printf '%-18s ' "$name"
        if (cd build/sanitize && timeout 300 "../../$program") >"$log" 2>&1 && grep -q 'Synthesis: Tested: [1-9]' "$log"; then
            grep Synthesis: "$log" | tail -n 1
        else
            echo failed
            tail -n 60 "$log"
            fault "$name"
        fi
        ran=$((ran + 1))
    done
    [ "$ran" -gt 0 ] || fault "$1: no test program"
}

unit() {
    say unit
    programs unit
    # What is registered beside them: the corpora of the fuzzers.
    ctest --test-dir build/sanitize --output-on-failure -E '^unit_|^bpf' --no-tests=error --timeout 300 | tail -n 12
    [ "${PIPESTATUS[0]}" -eq 0 ] || fault ctest
}

bpf() {
    say bpf
    programs bpf
    CORDON_BUILD=$PWD/build/sanitize timeout 600 /usr/bin/python3 -m pytest -q --tb=short -p no:cacheprovider --durations=3 tests/bpf || fault 'bpf: model'
}

system() {
    say system
    CORDON_PLAIN_BUILD=$PWD/build/release CORDON_BUILD=$PWD/build/sanitize timeout 2700 /usr/bin/python3 -m pytest -q --tb=short -p no:cacheprovider \
        --durations=8 tests/system || fault system
}

web() {
    say web
    (cd tests/web && npm ci --loglevel=error --no-progress --no-fund --no-audit >/dev/null) || { fault 'web: npm ci'; return; }
    CORDON_BUILD=$PWD/build/sanitize timeout 600 tests/web/run.sh >build/web.log 2>&1 || { cat build/web.log; fault web; return; }
    grep -E '^(not )?ok |^# (tests|pass|fail)' build/web.log
}

demo() {
    say demo
    CORDON_BUILD=$PWD/build/release timeout 300 packaging/demo.sh --once || fault demo
}

say install
packaging/deps.sh || exit 1
mkdir -p build

wants checks && checks
plain=
if wants system || wants demo; then
    build build/release -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=RelWithDebInfo && plain=yes
fi
if build build/sanitize -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Debug -DCORDON_SANITIZE=ON; then
    wants unit && unit
    wants bpf && bpf
    wants system && system
    wants web && web
fi
wants demo && [ -n "$plain" ] && demo
wants checks && build build/clang -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo

say 'end'
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "all suites passed: $suites"
