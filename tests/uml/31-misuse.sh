#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Netlink messages that no good client sends: each gets an error, none a warning in the log. See misuse.py.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
on h1 ./misuse.py
equal "the vnet is still there" "$("$VN" -n h1 -j net list | jq -c '[.[].ifname]')" '["vnif0005"]'
reaches a1 10.0.0.2
