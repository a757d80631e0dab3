#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The ends of RAM and its holes, and mappings of many MiB.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu

adp_case "first and last pages of every range of RAM, and not beyond" ram
echo "$RESULT" | grep 'RAM \['
adp_case "one mapping of 1 MiB" big len=0x100000
adp_case "one mapping of 4 MiB" big len=0x400000
adp_case "one mapping of 64 MiB" big len=0x4000000
adp_case "the ends once more" ram
ktap_finished
