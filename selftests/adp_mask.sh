#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# No address is beyond the DMA mask. ADP_MASK28, ADP_MASK32: "ok" if the
# platform's addresses are within such a mask, "refused" if they are beyond, "some"
# if some of them are; they are what they are for the emulated platform when
# it is told nothing.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu

adp_case "64 bits" mask bits=64 want=ok
adp_case "32 bits" mask bits=32 "want=${ADP_MASK32:-ok}"
adp_case "28 bits" mask bits=28 "want=${ADP_MASK28:-refused}"
adp_case "40 bits" mask bits=40 want=ok
adp_case "64 bits again" mask bits=64 want=ok
adp_case "nothing else has changed" map n=8
ktap_finished
