#!/bin/bash
# Runs the fuzz targets of the core floor, with AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   fuzz_targets.sh BUILD_DIR JOBS SECONDS   JOBS at a time, each for that long
#
# They need clang++ with libFuzzer (Debian: clang, libclang-rt-dev); without it nothing is run, and
# a line says so. What they find new stays in BUILD_DIR/corpus, an input that fails in BUILD_DIR.
set -euo pipefail

build=$1 jobs=$2 seconds=$3
cd "$(dirname "$0")/.."
targets=$(printf '%s\n' test/fuzz/*_fuzzer.cpp | sed 's|.*/||; s|\.cpp$||')

has_libfuzzer() {
    echo 'extern "C" int LLVMFuzzerTestOneInput(const char *, unsigned long) { return 0; }' |
        clang++ -x c++ -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null
}

fuzz_one() {
    local name=$1 corpus log
    corpus=test/fuzz/corpus/${name%_fuzzer} log=$build/$name.log
    mkdir -p "$build/corpus/$name"
    [ -d "$corpus" ] || corpus=
    if ! "$build/$name" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$build/" \
        "$build/corpus/$name" $corpus >"$log" 2>&1; then
        cat "$log"
        return 1
    fi
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no finding"
}

if ! has_libfuzzer; then
    echo "clang++ with libFuzzer is not installed: no fuzz target was run"
    exit 0
fi
CXX=clang++ cmake -S . -B "$build" -DLIVEMIGRATE_FUZZ=ON -DCMAKE_BUILD_TYPE=None >/dev/null
# shellcheck disable=SC2086
cmake --build "$build" --parallel "$jobs" --target $targets >"$build/build.log" ||
    { cat "$build/build.log"; exit 1; }
export -f fuzz_one
export build seconds
xargs -P "$jobs" -I {} bash -c 'fuzz_one {}' <<<"$targets"
