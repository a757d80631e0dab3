#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs the tests of this directory, or those that are named, one after the other:
#
#	run_kselftest.sh [-l] [TEST]...
#
# Prints TAP; ends with 0 if none failed. A test that ends with 4 cannot run
# here. Each has as long as the file "settings" says.

here=$(cd "$(dirname "$0")" && pwd)
cd "$here" || exit 1

all=$(cat kselftest-list.txt 2>/dev/null ||
	for test in adp_*.sh; do [ "$test" = adp_lib.sh ] || echo "$test"; done)
case $1 in
-l)
	echo "$all"
	exit 0
	;;
-*)
	echo "usage: run_kselftest.sh [-l] [TEST]..." >&2
	exit 1
	;;
esac
[ $# -gt 0 ] || {
	# shellcheck disable=SC2086
	set -- $all
}
for test; do
	case "
$all
" in
	*"
$test
"*) ;;
	*)
		echo "run_kselftest.sh: there is no test '$test'; -l shows them" >&2
		exit 1
		;;
	esac
done

limit=$(sed -n 's/^timeout=//p' settings)
echo "TAP version 13"
echo "1..$#"
number=0
failed=0
for test; do
	number=$((number + 1))
	echo "# selftests: apple_dma_pci: $test"
	{
		timeout "${limit:-120}" "./$test"
		echo "run_kselftest status $?"
	} 2>&1 | awk -v number=$number -v test="$test" '
		/^run_kselftest status [0-9]+$/ { status = $3; next }
		{ print "# " $0; fflush() }
		END {
			name = number " selftests: apple_dma_pci: " test
			if (status == 0)
				print "ok " name
			else if (status == 4)
				print "ok " name " # SKIP"
			else
				print "not ok " name " # exit=" status
			exit status != 0 && status != 4
		}' || failed=$((failed + 1))
done
[ $failed -eq 0 ]
