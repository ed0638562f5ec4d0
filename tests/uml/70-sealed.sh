#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# A sealed vnet between two modules.
# shellcheck source=tests/uml/lib.sh
. ./lib.sh
# shellcheck source=tests/uml/sealed.sh
. ./sealed.sh

load
hosts 3
HOW[h1]=module HOW[h2]=module
sealed conf chacha20-poly1305 wire changed repeated thrown_back unsealed tcp rotation strangers restart without_key
sealed auth aes-256-gcm wire changed rotation
sealed conf aes-256-gcm wire changed rotation
