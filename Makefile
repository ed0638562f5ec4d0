# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#
# For people; what kbuild reads is in Kbuild and module/Kbuild. "make help" lists the targets.

KDIR    ?= /lib/modules/$(shell uname -r)/build
PREFIX  ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
MANDIR  ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
CARGO   ?= cargo
# trixie, forky, uml or debug: build the module for that kernel of the kit, in the kit, instead of for KDIR.
KERNEL  ?=

# The names of old scripts that vn answers to.
SCRIPTS := createtmplt createvm delvm listclones listvmdisk listvmdisksize mountvm mapiscsi runvm stopvm rundomr vnetcleanup ipassoc firewall

build   := $(CURDIR)/build
kit     := tests/kit/kit
enter   := tests/kit/enter
# A kbuild on this host takes all other variables (CLIPPY=1, V=1 …) from the command line by itself.
kbuild   = $(MAKE) -C '$(KDIR)' M='$(CURDIR)' MO='$(build)/module'

ifneq ($(filter-out trixie forky uml debug,$(KERNEL)),)
$(error KERNEL is trixie, forky, uml or debug, not $(KERNEL))
endif

.DEFAULT_GOAL := all
.PHONY: all help module userland domr-image kit kit-info demo test test-unit test-uml test-debug test-qemu test-storage test-xen bench lint install uninstall clean

all: module userland ## module and userland for this host (the default)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14
	@echo
	@echo '  Variables: KDIR=, KERNEL=trixie|forky|uml|debug (module); DESTDIR=, PREFIX= (install); VNET_CACHE= (where the kit is)'

module: ## vnet.ko, for the kernel in KDIR= (this host's) or KERNEL=trixie|forky|uml|debug (of the kit)
ifeq ($(KERNEL),)
	@module/check-kdir '$(KDIR)'
	@mkdir -p '$(build)/module'
	$(kbuild) modules
	@echo 'made $(build)/module/module/vnet.ko'
else
	@tests/kit/module $(KERNEL) $(if $(CLIPPY),CLIPPY=1) $(if $(V),V=$(V))
endif

userland: ## vn, statically linked, into build/bin
	@CARGO='$(CARGO)' tests/kit/userland

domr-image: ## what a routing domain of Xen boots from: build/domr/vmlinuz and initrd
	@tests/kit/kit xen
	@CARGO='$(CARGO)' tests/kit/userland
	@tests/kit/enter --root xen domr/image build/domr

kit: ## makes what demo and tests need, once, in VNET_CACHE (~/.cache/vnet)
	@$(kit)

kit-info: ## says what is in the kit
	@$(kit) --info

demo: ## two virtual machines with Debian's kernel, one Ethernet: a minute and a half, when the kit is there
	@tests/run --demo

test: ## everything: lint, unit tests, builds, and the module in running kernels
	@tests/run

test-unit: ## unit tests of the core and of userland
	@tests/run unit

test-uml: ## the module in one user-mode kernel with many namespaces as hosts
	@tests/run uml ynl

test-debug: ## the same and more in a kernel that checks memory, locks and references
	@tests/run debug

test-qemu: ## the module in two virtual machines with Debian's kernel
	@tests/run qemu

test-storage: ## templates, images and disks on real ZFS, iSCSI and NFS, in two virtual machines: all that test does of it, and more
	@tests/run storage-all

test-xen: ## virtual machines and routing domains on hosts that run Xen; one with its disk on a storage host
	@tests/run xen xen-storage

bench: ## the module beside the kernel's tunnels, vnetd beside other programs: twenty minutes on an idle machine (ARGS="--rounds 3 --keep")
	@tests/bench/run $(ARGS)

lint: ## formatting, clippy, shellcheck, pyflakes, licences
	@tests/run lint

install: ## installs what "make" has built, with KERNEL= the module that was built for it: DESTDIR=, PREFIX=/usr/local
ifeq ($(KERNEL),)
	$(kbuild) modules_install $(if $(DESTDIR),INSTALL_MOD_PATH='$(DESTDIR)' DEPMOD=true)
else
	@tests/kit/install $(KERNEL) '$(DESTDIR)'
endif
	@# Debian's headers have no System.map, without which kbuild does not run it.
	$(if $(DESTDIR),,depmod "$$(cat '$(KDIR)/include/config/kernel.release')")
	for program in vn vnetd; do install -D -m 755 "build/bin/$$program" '$(DESTDIR)$(SBINDIR)/'"$$program"; done
	install -d '$(DESTDIR)$(UNITDIR)'
	sed 's|^ExecStart=[^ ]*/|ExecStart=$(SBINDIR)/|' userland/vnetd/vnetd.service >'$(DESTDIR)$(UNITDIR)/vnetd.service'
	sed 's|^ExecStart=[^ ]*/|ExecStart=$(SBINDIR)/|' userland/vn/vn-storage.service >'$(DESTDIR)$(UNITDIR)/vn-storage.service'
	for script in $(SCRIPTS); do ln -sf vn '$(DESTDIR)$(SBINDIR)/'"$$script.sh"; done
	ln -sf vn '$(DESTDIR)$(SBINDIR)/qemu-ifup'
	for page in docs/man/*.8; do [ ! -e "$$page" ] || install -D -m 644 "$$page" '$(DESTDIR)$(MANDIR)/man8/'"$${page##*/}"; done

uninstall: ## removes what "make install" has put in place
	rm -f '$(DESTDIR)$(SBINDIR)/vn' '$(DESTDIR)$(SBINDIR)/vnetd' '$(DESTDIR)$(UNITDIR)/vnetd.service' '$(DESTDIR)$(UNITDIR)/vn-storage.service'
	for script in $(SCRIPTS); do rm -f '$(DESTDIR)$(SBINDIR)/'"$$script.sh"; done
	rm -f '$(DESTDIR)$(SBINDIR)/qemu-ifup'
	for page in docs/man/*.8; do rm -f '$(DESTDIR)$(MANDIR)/man8/'"$${page##*/}"; done
	rm -f '$(DESTDIR)/lib/modules/'*/updates/module/vnet.ko*
	[ -n '$(DESTDIR)' ] || depmod

clean: ## removes build/
	rm -rf build
