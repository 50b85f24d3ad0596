#!/bin/bash
# Fetches source servers of other major versions and runs the tests that migrate from them; says last
# how much was skipped. The extension must be installed: make extension.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

output=$(mktemp)
trap 'rm -f "$output"' EXIT
tests=$(grep -lE 'LiveMigrate::SourceServer' test/t/*.pl | tr '\n' ' ')

test/source_servers.sh fetch | tee "$output"
PROVE_TESTS=$tests test/server_tests.sh tap 2>&1 | tee -a "$output"
status=$?
echo "check-sources: $(grep -cE '^(# )?skipped: ' "$output") skipped"
exit "$status"
