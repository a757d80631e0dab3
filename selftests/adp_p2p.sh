#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Memory of another device is not mapped for a managed function. Needs a device that
# offers memory to others, such as a drive with a controller memory buffer.

# shellcheck source=adp_lib.sh
. "$(dirname "$0")/adp_lib.sh"
adp_start
adp_need_edu
adp_case "memory of another device is refused" p2p
adp_case "that of the guest is not" map n=4
ktap_finished
