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
	@echo '  make install         install it with DKMS, for this kernel and the ones to come'
	@echo '  make uninstall       remove it'
	@echo 'On a Debian 12 or 13 machine, in virtual machines (root or sudo for packages and a chroot):'
	@echo '  make demo            an NVMe drive at work behind the module, verified'
	@echo '                       (ARCH=arm64 or x86_64, KERNEL=6.1, 6.12, 6.12-16k, newest, newest-16k)'
	@echo '  make check           all tests; TESTS="glob ..." only the VM tests of these names'
	@echo '  make bench           compare with what else there is (QUICK=1: fewer runs; ARCH=, CONTENDER="glob ..."'
	@echo '                       and BENCH="workload-glob ..." restrict it; STRICT=1: fail if a bar is missed)'
	@echo '  make bench-pictures  draw the pictures of Documentation/benchmarks.rst from build/bench.json'
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
	@set -f; scripts/check $(TESTS)

dist:
	@scripts/dist

bench:
	@scripts/setup
	@set -f; scripts/bench $(if $(filter-out 0,$(QUICK)),--quick) $(if $(filter-out 0,$(STRICT)),--strict) \
		$(ARCH:%=--arch %) $(foreach c,$(CONTENDER),--contender $(c)) $(BENCH)

bench-pictures:
	@scripts/setup bench
	@scripts/bench-plot

install:
	@command -v dkms >/dev/null || { echo "install: dkms is missing (Debian: apt install dkms)" >&2; exit 1; }
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && scripts/dist "$$dir" >/dev/null && \
		tar -x -C "$$dir" -f "$$dir/$(release).tar.gz" && \
		$(sudo) dkms add "$$dir/$(release)"
	$(sudo) dkms install -m $(name) -v $(version) -k $(KVER)

uninstall:
	$(sudo) dkms remove -m $(name) -v $(version) --all
	$(sudo) rm -rf /usr/src/$(release)

update:
	@scripts/clean update

clean:
	@scripts/clean build

distclean: clean
	@scripts/clean cache

.PHONY: default no-headers help module modules demo check bench bench-pictures dist install uninstall update clean distclean
