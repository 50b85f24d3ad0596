#!/bin/bash
# Runs the fuzz targets of the core floor, with AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   fuzz_targets.sh BUILD_DIR JOBS SECONDS [INPUTS]
#
# JOBS at a time, each for that long, and on until it has had so many inputs. A target's corpus is that
# of its name, or of its name without the last word: several targets read the same format. They need clang++ with libFuzzer (Debian: clang, libclang-rt-dev); without it nothing is run, and
# a line says so. What they find new stays in BUILD_DIR/corpus, an input that fails in BUILD_DIR.
set -euo pipefail

build=$1 jobs=$2 seconds=$3 inputs=${4:-0}
max_length=512 # longer inputs are slower and say the same
cd "$(dirname "$0")/.."
names=$(printf '%s\n' test/fuzz/*_fuzzer.cpp | sed 's|.*/||; s|_fuzzer\.cpp$||')

has_libfuzzer() {
    echo 'extern "C" int LLVMFuzzerTestOneInput(const char *, unsigned long) { return 0; }' |
        clang++ -x c++ -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null
}

# What takes time and finds nothing: stacks of returned functions are not read here, memory that was
# freed need not be kept for long, and of who took it two callers will do.
export ASAN_OPTIONS=detect_stack_use_after_return=0:malloc_context_size=2:quarantine_size_mb=8:max_malloc_fill_size=0

fuzz_one() {
    local name=$1 corpus log done=0
    corpus=test/fuzz/corpus/$name log=$build/${name}_fuzzer.log
    mkdir -p "$build/corpus/$name"
    [ -d "$corpus" ] || corpus=${corpus%_*}
    [ -d "$corpus" ] || corpus=
    while
        if ! "$build/${name}_fuzzer" -max_len="$max_length" -max_total_time="$seconds" -print_funcs=0 \
            -print_final_stats=1 -artifact_prefix="$build/" "$build/corpus/$name" $corpus >"$log" 2>&1; then
            cat "$log"
            return 1
        fi
        done=$((done + $(sed -n 's/^stat::number_of_executed_units: *//p' "$log")))
        [ "$done" -lt "$inputs" ]
    do :; done
    echo "$name: $done inputs, no finding"
}

if ! has_libfuzzer; then
    echo "clang++ with libFuzzer is not installed: no fuzz target was run"
    exit 0
fi
CXX=clang++ cmake -S . -B "$build" -DLIVEMIGRATE_FUZZ=ON -DCMAKE_BUILD_TYPE=None >/dev/null
# shellcheck disable=SC2046
cmake --build "$build" --parallel "$jobs" --target $(printf '%s_fuzzer ' $names) >"$build/build.log" ||
    { cat "$build/build.log"; exit 1; }
export -f fuzz_one
export build seconds inputs max_length
xargs -P "$jobs" -I {} bash -c 'fuzz_one {}' <<<"$names"
