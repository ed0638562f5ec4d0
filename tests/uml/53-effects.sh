#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Every setting of a vnet does what it says, in the module.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh
# shellcheck source=tests/uml/effects.sh
. ./effects.sh

load
hosts 3
effects h1 module 192.0.2.1
