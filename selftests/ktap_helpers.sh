# SPDX-License-Identifier: GPL-2.0-only
#
# TAP output for shell tests, with the names that the kernel's selftests use.
# Sourced, not run.
# shellcheck shell=sh

KSFT_PASS=0
KSFT_FAIL=1
KSFT_SKIP=4

KTAP_TESTNO=0
KTAP_PLAN=0
KTAP_CNT_PASS=0
KTAP_CNT_FAIL=0
KTAP_CNT_SKIP=0

ktap_print_header() {
	echo "TAP version 13"
}

ktap_print_msg() {
	echo "# $*"
}

ktap_set_plan() {
	KTAP_PLAN=$1
	echo "1..$KTAP_PLAN"
}

# The whole test cannot run here.
ktap_skip_all() {
	echo "1..0 # SKIP $*"
}

ktap_test_pass() {
	KTAP_TESTNO=$((KTAP_TESTNO + 1))
	KTAP_CNT_PASS=$((KTAP_CNT_PASS + 1))
	echo "ok $KTAP_TESTNO $*"
}

ktap_test_fail() {
	KTAP_TESTNO=$((KTAP_TESTNO + 1))
	KTAP_CNT_FAIL=$((KTAP_CNT_FAIL + 1))
	echo "not ok $KTAP_TESTNO $*"
}

ktap_test_skip() {
	KTAP_TESTNO=$((KTAP_TESTNO + 1))
	KTAP_CNT_SKIP=$((KTAP_CNT_SKIP + 1))
	echo "ok $KTAP_TESTNO $* # SKIP"
}

# ktap_test_result DESCRIPTION COMMAND...: the command's exit status decides.
ktap_test_result() {
	ktap_description=$1
	shift
	if "$@"; then
		ktap_test_pass "$ktap_description"
	else
		ktap_test_fail "$ktap_description"
	fi
}

ktap_print_totals() {
	echo "# Totals: pass:$KTAP_CNT_PASS fail:$KTAP_CNT_FAIL xfail:0 xpass:0 skip:$KTAP_CNT_SKIP error:0"
}

ktap_exit_fail_msg() {
	echo "Bail out! $*"
	ktap_print_totals
	exit "$KSFT_FAIL"
}

# Ends the test. The plan may come last, so it is printed here if it was not.
ktap_finished() {
	[ "$KTAP_PLAN" -gt 0 ] || ktap_set_plan "$KTAP_TESTNO"
	ktap_print_totals
	if [ "$KTAP_TESTNO" -eq 0 ] || [ "$KTAP_CNT_FAIL" -gt 0 ] ||
	   [ "$KTAP_TESTNO" -ne "$KTAP_PLAN" ]; then
		exit "$KSFT_FAIL"
	fi
	[ "$KTAP_CNT_SKIP" -lt "$KTAP_TESTNO" ] || exit "$KSFT_SKIP"
	exit "$KSFT_PASS"
}
