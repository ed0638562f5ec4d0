#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# Each netlink command with its first, second, third … allocation failing, until it succeeds: see failslab.py.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh

two_customers
on h1 ../debug/failslab.py
holds "the first vnet is still there" "$VN" -n h1 net show 0005
reaches a1 10.0.0.2
"$VN" -n h2 net delete 0005
on h2 ../debug/failslab.py first
net h2 0005
reaches a1 10.0.0.2
