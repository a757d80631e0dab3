# SPDX-License-Identifier: GPL-2.0-only
#
# `make help` lists what there is to make. Kbuild describes the module itself.

version := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
name := apple_dma_pci
release := $(name)-$(version)
KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
sudo := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

default: $(if $(wildcard $(KDIR)/Makefile),module,no-headers)

no-headers:
	@echo "There are no headers of the kernel $(KVER) in $(KDIR): the module is not built."
	@echo "Install them (Debian: apt install linux-headers-$(KVER)), or name others with KDIR=."
	@echo
	@$(MAKE) -s --no-print-directory help

help:
	@echo 'On a guest:'
	@echo '  make                 build the module for the running kernel (KVER=, KDIR= for another)'
	@echo '  make install         install it with DKMS, for this kernel and the ones to come, and what loads it early'
	@echo '  make uninstall       remove both'
	@echo '  make install-hooks   only what loads it early, and apple-dma-status (DESTDIR=, prefix=/usr; INITRAMFS='
	@echo '                       "initramfs-tools dracut mkinitcpio" restricts it); make uninstall-hooks removes it'
	@echo 'On a Debian 12 or 13 machine, in virtual machines (root or sudo for packages and a chroot):'
	@echo '  make demo            an NVMe drive at work behind the module, verified'
	@echo '                       (ARCH=arm64 or x86_64, KERNEL=6.1, 6.12, 6.12-16k, newest, newest-16k)'
	@echo '  make check           all tests; TESTS="glob ..." only the VM tests of these names; ALL=1: each VM test'
	@echo '                       on all of its kernels, not on one of them, and ten boots in a row of the Debian, not one'
	@echo '  make matrix          build, boot and test with every kernel that can be had (KERNELS="glob ...": *-rt-*, 7.?-arm64)'
	@echo '  make check-install   make the packages, install, upgrade and remove them, also in fresh Debians, in guests'
	@echo '  make check-debug     the tests under kernels with KASAN, lockdep, KCSAN and more (TESTS="glob ...",'
	@echo '                       ARCH=, KERNELS="glob ...": debug-kasan-drivers, debug-kcsan; HOSTS=10000)'
	@echo '  make fuzz            fuzz the device and the module (MINUTES=60 of CPU time; KEEP=1 keeps what it found of use)'
	@echo '  make soak            an hour of storage, network and USB at once, with refusals and drivers that come and go'
	@echo '                       (MINUTES=60)'
	@echo '  make bench           compare with what else there is (QUICK=1: fewer runs; ARCH=, CONTENDER="glob ..."'
	@echo '                       and BENCH="workload-glob ..." restrict it; STRICT=1: fail if a bar is missed)'
	@echo '  make bench-pictures  draw the pictures of Documentation/benchmarks.rst from build/bench.json'
	@echo '  make docs            web pages of the documentation, into build/docs'
	@echo '  make modules         build the module for all kernels of the tests, into build/modules'
	@echo '  make update          look for newer kernels and QEMU releases of the same series next time'
	@echo 'Anywhere:'
	@echo '  make dist            a release tarball, in dist/'
	@echo '  make clean           remove what builds and tests made in this tree'
	@echo '  make distclean       remove the cache of downloads and builds too'
	@echo 'QEMU_SRC=DIR takes another QEMU source tree, QEMU=DIR a QEMU that is built, XDG_CACHE_HOME= moves the cache.'

module:
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

modules:
	@scripts/setup
	@scripts/modules-all

demo:
	@rm -f build/demo.json
	@scripts/setup || { echo "demo: FAIL: the machine could not be set up"; exit 1; }
	@scripts/demo

check:
	@set -f; scripts/check $(if $(filter-out 0,$(ALL)),--all) $(TESTS)

matrix:
	@scripts/setup
	@set -f; scripts/matrix $(KERNELS)

check-install:
	@scripts/check-install

check-debug:
	@set -f; scripts/check-debug $(ARCH:%=--arch %) $(KERNELS:%=--kernel %) $(HOSTS:%=--hosts %) $(TESTS)

fuzz:
	@scripts/fuzz $(if $(filter-out 0,$(KEEP)),--keep) $(MINUTES)

soak:
	@scripts/soak $(MINUTES)

docs:
	@scripts/setup docs
	@scripts/docs

dist:
	@scripts/dist

bench:
	@scripts/setup
	@set -f; scripts/bench $(if $(filter-out 0,$(QUICK)),--quick) $(if $(filter-out 0,$(STRICT)),--strict) \
		$(ARCH:%=--arch %) $(foreach c,$(CONTENDER),--contender $(c)) $(BENCH)

bench-pictures:
	@scripts/setup bench
	@scripts/bench-plot

# What makes the module come before other drivers, SOURCE:TARGET. The tools that
# read these files look for them below /usr.
prefix = /usr
sysconfdir = /etc
mandir = $(prefix)/share/man
INITRAMFS = initramfs-tools dracut mkinitcpio
hooks := modprobe/$(name).conf:$(prefix)/lib/modprobe.d/$(name).conf \
	udev/79-$(name).rules:$(prefix)/lib/udev/rules.d/79-$(name).rules
hooks-initramfs-tools := initramfs-tools/hooks/$(name):$(prefix)/share/initramfs-tools/hooks/$(name)
hooks-dracut := dracut/90$(name)/module-setup.sh:$(prefix)/lib/dracut/modules.d/90$(name)/module-setup.sh
hooks-mkinitcpio := mkinitcpio/install/$(name):$(prefix)/lib/initcpio/install/$(name) \
	mkinitcpio/$(name).conf:$(sysconfdir)/mkinitcpio.conf.d/$(name).conf
hooks += $(foreach i,$(INITRAMFS),$(or $(hooks-$(i)),$(error INITRAMFS: there is no hook for '$(i)')))
hooks-next := Now make the initramfs again: update-initramfs -u -k all, dracut -f --regenerate-all, or mkinitcpio -P
hooks-sudo = $(if $(DESTDIR),,$(sudo))

install-hooks:
	@set -e; for f in $(hooks); do \
		mode=644; [ ! -x "early/$${f%%:*}" ] || mode=755; \
		$(hooks-sudo) install -D -p -m $$mode "early/$${f%%:*}" "$(DESTDIR)$${f#*:}"; \
	done
	@$(hooks-sudo) install -D -p -m 755 tools/apple-dma-status "$(DESTDIR)$(prefix)/sbin/apple-dma-status"
	@$(hooks-sudo) install -D -p -m 644 tools/apple-dma-status.8 "$(DESTDIR)$(mandir)/man8/apple-dma-status.8"
	@[ -n "$(DESTDIR)" ] || echo "$(hooks-next)"

uninstall-hooks:
	$(hooks-sudo) rm -f $(foreach f,$(hooks),"$(DESTDIR)$(lastword $(subst :, ,$(f)))") \
		"$(DESTDIR)$(prefix)/sbin/apple-dma-status" "$(DESTDIR)$(mandir)/man8/apple-dma-status.8"
	$(if $(filter dracut,$(INITRAMFS)),-@$(hooks-sudo) rmdir "$(DESTDIR)$(prefix)/lib/dracut/modules.d/90$(name)" 2>/dev/null)

install:
	@command -v dkms >/dev/null || { echo "install: dkms is missing (Debian: apt install dkms)" >&2; exit 1; }
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && scripts/dist "$$dir" >/dev/null && \
		tar -x -C "$$dir" -f "$$dir/$(release).tar.gz" && \
		$(sudo) dkms add "$$dir/$(release)"
	@$(MAKE) -s --no-print-directory install-hooks >/dev/null
	$(sudo) dkms install -m $(name) -v $(version) -k $(KVER)
	@echo "$(hooks-next)"

uninstall: uninstall-hooks
	$(sudo) dkms remove -m $(name) -v $(version) --all
	$(sudo) rm -rf /usr/src/$(release)

update:
	@scripts/clean update

clean:
	@scripts/clean build

distclean: clean
	@scripts/clean cache

.PHONY: default no-headers help module modules demo check matrix check-install check-debug fuzz soak docs bench bench-pictures dist install uninstall install-hooks \
	uninstall-hooks update clean distclean
