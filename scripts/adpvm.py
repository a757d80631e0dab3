# SPDX-License-Identifier: GPL-2.0-only
"""Boot a guest under QEMU, run a script in it, and see that nothing went wrong.

The guest is a Debian kernel and an initramfs made here: busybox, the modules
that were asked for with what they depend on, and files. The kernel's console
and the script's output come through two serial ports, so neither disturbs the
other. When the guest has powered off, the counters of every apple-dma-pci
device are read over QMP and compared with what the module printed.

A guest may have the host do things to it: `qmp COMMAND ARGUMENTS`, where the
command is one of Guest.qmp and the arguments are a JSON object, prints what the
command returns. `qmp after EVENT COMMAND ARGUMENTS` has it executed when such an
event comes the next time; `qmp wait EVENT` waits for one that the guest has not
waited for yet, and prints its data.

In QEMU's arguments, and in those of QMP commands, @WORK@ is the run's own directory.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import glob
import json
import lzma
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time

SCRIPTS = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(SCRIPTS)

ARCHS = {"arm64": "arm64", "aarch64": "arm64", "x86_64": "x86_64", "amd64": "x86_64"}
QEMU_ARCH = {"arm64": "aarch64", "x86_64": "x86_64"}
CONSOLE = {"arm64": ("ttyAMA0", "ttyAMA1"), "x86_64": ("ttyS0", "ttyS1")}

STRAY_STATUS = 86           # of QEMU, when a device was caught
DRIVER = "apple_dma_pci"
DEVICE = "apple-dma-pci"

# What a healthy guest never logs.
TROUBLE = re.compile(
    r"WARNING:|BUG:|\bBUG at|Oops|Internal error:|Kernel panic|[Cc]all [Tt]race:|general protection fault"
    r"|Unable to handle kernel|KASAN|KCSAN|UBSAN|kmemleak:|INFO: (task|rcu|trying)|blocked for more than"
    r"|soft lockup|hard LOCKUP|possible (circular|recursive|irq) locking|inconsistent lock state"
    r"|suspicious RCU|DMA-API:|swiotlb buffer is full|stray|detected stall|refcount_t:|list_(add|del) corruption"
    r"|adp-vm: trouble")
# Said of the emulated processor, not by or about a driver.
HARMLESS = re.compile(r"Spectre V2 : WARNING|MDS CPU bug|Retbleed|stray-dma|kmemleak: (Kernel memory leak detector|Cannot allocate a scan area)"
                      r"|DMA-API: (preallocated|debugging (en|dis)abled|dma-debug initialized)")

# Kernels of kernels.conf that look hard at everything take their time over it.
DEBUG, PATIENCE = "debug-", 8

TOTALS = re.compile(r"(?:" + DRIVER + r"|adp_naive) ([0-9a-f:.]+): totals: (.*)")
REFUSED = ("refused-bytes", "refused-mappings", "refused-space", "refused-duplicate", "refused-misaligned",
           "refused-not-ram", "refused-unknown", "refused-injected")
COUNTERS = ("doorbells", "map-entries", "unmap-entries", "bad-batches", *REFUSED, "live-bytes",
            "live-mappings", "peak-bytes", "peak-mappings", "stray-accesses", "hostile-guests", "hostile-answers")


# What takes almost half of a guest's start without hardware help, and is nothing that is tested here:
# memory that is cleared once more, the kernel's tests of its ciphers, random numbers of a quality
# that nobody needs, ports that are not there, the names of numbers in events' formats, what BPF knows of
# types, and the keys of those who sign modules.
BRISK = ("init_on_alloc=0 cryptomgr.notests 8250.nr_uarts=2 initcall_blacklist=jent_mod_init,crypto_kdf108_init,"
         "trace_eval_init,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init,btf_module_init")
KEYS = "load_system_certificate_list"


def brisk(guest):
    # Messages of a kernel that is well, up to /init, are slow too; a system that boots on may want them.
    words = f"loglevel={7 if guest.initrd else 4} "
    if guest.arch == "x86_64":
        # The timer is well, but its ticks come late where the host is busy; under KVM a guest does this itself.
        words += "no_timer_check "
        # So is the TSC. Linux 7 compares two CPUs' with interrupts off, for as long as a clock says that stands still then.
        words += "tsc=nowatchdog "
    words += BRISK
    # Where firmware locks the kernel down, signatures count.
    return words if guest.uefi else f"{words},{KEYS}"


class Error(Exception):
    """Something that the user can mend; printed without a traceback."""


def arch_name(name):
    try:
        return ARCHS[name]
    except KeyError:
        raise Error(f"unknown architecture '{name}': ARCH is arm64 or x86_64") from None


@functools.cache
def made_by(script, *args):
    """Run a script of this directory, which prints the path of what it made; once, whoever asks."""
    run = subprocess.run([os.path.join(SCRIPTS, script), *args], stdout=subprocess.PIPE, text=True,
                         stdin=subprocess.DEVNULL)
    if run.returncode:
        raise Error(f"scripts/{script} {' '.join(args)} failed")
    return run.stdout.strip().splitlines()[-1]


@dataclasses.dataclass
class Guest:
    """What to boot, and what to do in it."""
    arch: str = "arm64"
    kernel: str = "6.12"
    script: str = "true"
    name: str = "guest"
    memory: str = "512M"
    cpus: int = 1
    machine: str = ""           # appended to -machine
    domain: int = 0             # of PCI; arm64 only
    cpu: str | dict = ""        # of all, or by architecture
    devices: list = dataclasses.field(default_factory=list)     # -device arguments
    drives: list = dataclasses.field(default_factory=list)      # id=ID,size=SIZE or id=ID,file=FILE
    modules: list = dataclasses.field(default_factory=list)     # loaded after ours, in order
    available: list = dataclasses.field(default_factory=list)   # in the guest, not loaded
    module: str = "load"        # load, or none: the script does it
    params: str = ""            # of our module
    files: list = dataclasses.field(default_factory=list)       # (path on the host, path in the guest)
    initrd: str = ""            # a whole initramfs, instead of one with script, modules and files
    vmlinuz: str = ""           # a kernel that the guest has brought along, instead of this one; initrd goes with it
    selftests: bool = False
    append: str = ""            # to the kernel command line
    qemu_args: list = dataclasses.field(default_factory=list)
    cost: bool = True           # the platform's cost per doorbell and entry
    icount: str = ""            # of -icount
    reboot: bool = False        # a guest may reboot; it ends at power off only
    end: str = "poweroff"       # or reboot, where the firmware has forgotten how to power off
    kexec: bool = False         # it has kexec, and in /kexec what it was booted from
    timeout: float = 180
    stray_exit: bool = True
    qmp: list = dataclasses.field(default_factory=list)         # commands that the guest may have executed
    programs: list = dataclasses.field(default_factory=list)    # of Debian's, by the script that fetches them
    uefi: tuple = ()            # directory made by scripts/secure-boot, variables of the firmware


@dataclasses.dataclass
class Result:
    status: int = None          # of the script; None if it never ended
    output: str = ""            # of the script
    console: str = ""
    stderr: str = ""            # of QEMU
    qemu_status: int = None
    timed_out: bool = False
    seconds: float = 0
    cpu_seconds: float = 0      # that QEMU has used
    device: dict = dataclasses.field(default_factory=dict)      # PCI address: counters read over QMP
    driver: dict = dataclasses.field(default_factory=dict)      # PCI address: totals that the module printed
    trouble: list = dataclasses.field(default_factory=list)     # lines of the console


class Archive:
    """A cpio archive in the form that the kernel unpacks."""

    def __init__(self):
        self.parts = []
        self.names = set()
        self.inode = 0

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        self.inode += 1
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]
        self.names.add(name)

    def directory(self, name):
        name = name.strip("/")
        if name and name not in self.names:
            self.directory(os.path.dirname(name))
            self._entry(name, stat.S_IFDIR | 0o755)

    def data(self, name, data, mode=0o644):
        name = name.strip("/")
        self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self.directory(os.path.dirname(name.strip("/")))
        self._entry(name.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def node(self, name, major, minor):
        self.directory(os.path.dirname(name.strip("/")))
        self._entry(name.strip("/"), stat.S_IFCHR | 0o600, b"", (major, minor))

    def add(self, path, name):
        """A file, a link or a whole directory of the host."""
        if os.path.islink(path):
            self.link(name, os.readlink(path))
        elif os.path.isdir(path):
            self.directory(name)
            for entry in sorted(os.listdir(path)):
                self.add(os.path.join(path, entry), f"{name}/{entry}")
        else:
            with open(path, "rb") as f:
                self.data(name, f.read(), stat.S_IMODE(os.stat(path).st_mode))

    def write(self, path):
        self._entry("TRAILER!!!", 0)
        with open(path, "wb") as f:
            f.writelines(self.parts)


INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /bin /proc /sys /dev /tmp /mnt
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t tmpfs tmpfs /tmp
ln -sf /proc/mounts /etc/mtab
ln -sf /proc/self/fd /dev/fd
echo 7 >/proc/sys/kernel/printk
echo @HUNG@ >/proc/sys/kernel/hung_task_timeout_secs 2>/dev/null
stty -F /dev/@OUT@ raw -echo
trouble() { echo "adp-vm: trouble: $*" >/dev/kmsg; }
# A scan takes half a minute without hardware help, and the ones that count come at the end.
leaks=/sys/kernel/debug/kmemleak
[ ! -e $leaks ] || echo scan=off >$leaks
@LOAD@
cd /selftests 2>/dev/null || cd /tmp
sh /etc/script >/dev/@OUT@ 2>&1 </dev/null
printf '\\nadp-vm: exit %d\\n' $? >/dev/@OUT@
cd /
sync
for m in $(awk '$3 !~ /^(rootfs|proc|sysfs|devtmpfs|debugfs|tracefs|tmpfs)$/ { print $2 }' /proc/mounts); do
	umount "$m" || trouble "cannot unmount $m"
done
if [ -d /sys/module/@DRIVER@ ]; then
	rmmod @DRIVER@ || trouble "cannot unload @DRIVER@"
fi
# A kernel that is locked down keeps everybody out.
if { true <$leaks; } 2>/dev/null; then
	# What is younger is not looked at, and what changes between two looks is in use.
	sleep 6
	echo scan >$leaks
	echo scan >$leaks
	[ -z "$(head -c 1 $leaks)" ] || head -n 60 $leaks | while read -r line; do trouble "leaked: $line"; done
elif [ -e $leaks ] && ! dmesg | grep -q "Lockdown: .*debugfs access is restricted"; then
	trouble "kmemleak cannot be read"
fi
@END@ -f
"""

ASK = """#!/bin/sh
exec 3<>/dev/@OUT@
printf '\\nadp-vm: qmp %s\\n' "$*" >&3
read -r verdict answer <&3
echo "$answer"
[ "$verdict" = ok ]
"""


def module_name(path):
    return re.sub(r"\.ko.*", "", os.path.basename(path)).replace("-", "_")


def module_closure(kernel, release, names):
    """Modules by their names or aliases, and all that they want loaded before: {name: (file, [names before])}, and
    {what was asked for: its module's name, or None if the kernel has it built in}."""
    root = os.path.join(kernel, "root")
    found = {}
    asked = {}
    for name in names:
        run = subprocess.run(["modprobe", "-d", root, "-S", release, "--show-depends", name],
                             env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            raise Error(f"the kernel {release} has no module '{name}': {run.stderr.strip()}")
        before = []
        for line in run.stdout.splitlines():
            if line.startswith("insmod "):
                path = line.split()[1]
                found.setdefault(module_name(path), (path, list(before)))
                before.append(module_name(path))
        asked[name] = before[-1] if before else None
    return found, asked


def add_modules(archive, guest, kernel, release, ours):
    """All modules flat in one directory, with the indexes that busybox's modprobe reads. Return: what to load."""
    where = f"lib/modules/{release}"
    found, asked = module_closure(kernel, release, guest.modules + guest.available)
    index = []
    for name, (path, before) in found.items():
        with open(path, "rb") as f:
            data = f.read()
        archive.data(f"{where}/{name}.ko", lzma.decompress(data) if path.endswith(".xz") else data)
        # The last one named is loaded first.
        index.append(f"{name}.ko: {' '.join(f'{b}.ko' for b in reversed(before))}")
    for path in sorted(glob.glob(f"{ours}/*.ko")):
        archive.add(path, f"{where}/{os.path.basename(path)}")
        index.append(f"{os.path.basename(path)}:")
    archive.data(f"{where}/modules.dep", "".join(line + "\n" for line in index).encode())
    with open(f"{kernel}/root/lib/modules/{release}/modules.alias", encoding="utf-8") as f:
        aliases = [line for line in f if line.split()[-1] in found]
    archive.data(f"{where}/modules.alias", "".join(aliases).encode())
    archive.data(f"{where}/modules.symbols", b"")
    return [asked[m] for m in guest.modules if asked[m]]


def kexec_files(guest, path, kernel, *made):
    """What a guest needs to start its own kernel again; that one cannot do so another time."""
    inner = f"{path}.kexec"
    make_initramfs(dataclasses.replace(guest, kexec=False), inner, kernel, *made)
    root = os.path.join(made_by("kexec", guest.arch), "root")
    files = [(inner, "kexec/initramfs"), (f"{kernel}/vmlinuz", "kexec/vmlinuz")]
    return files + [(f"{root}/{name}", name) for name in os.listdir(root)]


def make_initramfs(guest, path, kernel, release, base, ours, selftests):
    archive = Archive()
    archive.directory("etc")
    archive.node("dev/console", 5, 1)
    archive.add(f"{base}/busybox", "bin/busybox")
    archive.link("bin/sh", "busybox")
    archive.link("sbin", "bin")
    modules = add_modules(archive, guest, kernel, release, ours)
    load = []
    if guest.module == "load":
        load.append(f"modprobe {DRIVER} {guest.params} || trouble 'cannot load {DRIVER}'")
    load += [f"modprobe {m} || trouble 'cannot load {m}'" for m in modules]
    init = INIT.replace("@LOAD@", "\n".join(load)).replace("@DRIVER@", DRIVER)
    patience = PATIENCE if guest.kernel.startswith(DEBUG) else 1
    init = init.replace("@END@", guest.end).replace("@HUNG@", str(30 * patience))
    archive.data("init", init.replace("@OUT@", CONSOLE[guest.arch][1]).encode(), 0o755)
    archive.data("etc/script", (guest.script + "\n").encode())
    if guest.qmp:
        archive.data("bin/qmp", ASK.replace("@OUT@", CONSOLE[guest.arch][1]).encode(), 0o755)
    if selftests:
        archive.add(selftests, "selftests")
    files = list(guest.files)
    for program in guest.programs:
        root = os.path.join(made_by(program, guest.arch), "root")
        files += [(f"{root}/{name}", name) for name in os.listdir(root)]
    if guest.kexec:
        files += kexec_files(guest, path, kernel, release, base, ours, selftests)
    for source, target in files:
        if not os.path.exists(source):
            raise Error(f"no file '{source}' to put into the guest")
        archive.add(source, target)
    archive.write(path)


class Qmp:
    """QEMU's control socket: one JSON object per line."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        # Who does not answer for so long hangs, and whoever asks has an end to see to.
        self.sock.settimeout(60)
        self.sock.connect(path)
        self.file = self.sock.makefile("rw")
        self.events = []
        self.read()
        self("qmp_capabilities")

    def read(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        return json.loads(line)

    def __call__(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            reply = self.read()
            if "event" in reply:
                self.events.append(reply)
            elif "error" in reply:
                raise Error(f"QMP {command}: {reply['error']['desc']}")
            else:
                return reply["return"]

    def addresses(self, domain):
        """The PCI address of every device that has an id."""
        found = {}

        def walk(devices):
            for dev in devices:
                if dev["qdev_id"]:
                    found[dev["qdev_id"]] = f"{domain:04x}:{dev['bus']:02x}:{dev['slot']:02x}.{dev['function']}"
                walk(dev.get("pci_bridge", {}).get("devices", []))

        for bus in self("query-pci"):
            walk(bus["devices"])
        return found

    def counters(self, domain):
        addresses = self.addresses(domain)
        result = {}
        for entry in self("qom-list", path="/machine/peripheral"):
            if entry["type"] == f"child<{DEVICE}>":
                path = f"/machine/peripheral/{entry['name']}"
                result[addresses.get(entry["name"], entry["name"])] = {
                    c: self("qom-get", path=path, property=c) for c in COUNTERS}
        return result


class Host:
    """Does what the guest asks for on its output, and answers on the same port."""
    asked = re.compile(r"^adp-vm: qmp (?:(after|wait) (\w+) ?)?([\w-]*) ?(.*)$")

    def __init__(self, guest, work):
        self.guest = guest
        self.work = work
        self.begun = time.monotonic()
        self.path = f"{work}/out"
        self.seen = 0           # bytes of the output
        self.events = []        # that nobody has waited for
        self.armed = []         # (event, command, arguments)
        self.awaited = None     # event
        self.answers = None
        if guest.qmp:
            os.mkfifo(f"{work}/in")
            # With a writer QEMU's end can be opened, and does not end.
            self.answers = os.open(f"{work}/in", os.O_RDWR)

    def close(self):
        if self.answers is not None:
            os.close(self.answers)

    def note(self, what):
        """For who wonders what a guest has waited for."""
        with open(f"{self.work}/host", "a", encoding="utf-8") as f:
            f.write(f"{time.monotonic() - self.begun:.2f} {what}\n")

    def answer(self, verdict, what):
        self.note(f"{verdict} {what}")
        os.write(self.answers, f"{verdict} {what}\n".encode())

    def execute(self, qmp, command, arguments):
        if command not in self.guest.qmp:
            raise Error(f"the guest may not ask for '{command}'")
        return json.dumps(qmp(command, **arguments))

    def ask(self, qmp, line):
        found = self.asked.match(line)
        if not found:
            return
        when, event, command, arguments = found.groups()
        self.note(line)
        try:
            arguments = json.loads((arguments or "{}").replace("@WORK@", self.work))
            if when == "wait":
                self.awaited = event
            elif when == "after":
                self.armed.append((event, command, arguments))
                self.answer("ok", "{}")
            else:
                self.answer("ok", self.execute(qmp, command, arguments))
        except (Error, ValueError, TypeError) as e:
            self.answer("error", e)

    def lines(self):
        try:
            with open(self.path, "rb") as f:
                f.seek(self.seen)
                data = f.read()
        except FileNotFoundError:
            return []
        data = data[:data.rfind(b"\n") + 1]
        self.seen += len(data)
        return data.decode(errors="replace").replace("\r\n", "\n").splitlines()

    def serve(self, qmp, result):
        """What there is to do now."""
        if self.answers is None:
            return
        # Events before requests: `after` is about those to come.
        come, qmp.events = qmp.events, []
        for event in come:
            self.note(json.dumps(event))
            self.events.append(event)
            for armed in [a for a in self.armed if a[0] == event["event"]]:
                self.armed.remove(armed)
                try:
                    self.execute(qmp, *armed[1:])
                except (Error, TypeError) as e:
                    result.trouble.append(f"(after {armed[0]}) {e}")
        for line in self.lines():
            self.ask(qmp, line)
        for event in [e for e in self.events if e["event"] == self.awaited][:1]:
            self.events.remove(event)
            self.awaited = None
            self.answer("ok", json.dumps(event.get("data", {})))


def device_args(guest):
    """The -device arguments, companions with an id, stray-dma and costs."""
    companions = 0
    for device in guest.devices:
        if device.split(",")[0] == DEVICE:
            options = device.split(",")[1:]
            given = {o.split("=")[0] for o in options}
            if "id" not in given:
                device += f",id=companion{companions}"
            if "stray-dma" not in given and guest.stray_exit:
                device += ",stray-dma=exit"
            if not guest.cost:
                device += "".join(f",{o}=0" for o in ("exit-cost-ns", "entry-cost-ns", "scan-cost-ns")
                                  if o not in given)
            companions += 1
        yield "-device"
        yield device


def drive_args(guest, work):
    for drive in guest.drives:
        try:
            options = dict(o.split("=", 1) for o in drive.split(","))
            ident = options.pop("id")
        except (ValueError, KeyError):
            raise Error(f"drive '{drive}': it is id=ID,size=SIZE or id=ID,file=FILE") from None
        if "size" in options:
            options["file"] = os.path.join(work, f"{ident}.img")
            unit = {"K": 10, "M": 20, "G": 30}.get(options["size"][-1])
            if not unit or not options["size"][:-1].isdigit():
                raise Error(f"drive '{drive}': size is a number and K, M or G")
            with open(options["file"], "wb") as f:
                f.truncate(int(options.pop("size")[:-1]) << unit)
        if "file" not in options:
            raise Error(f"drive '{drive}': neither size= nor file=")
        options.setdefault("format", "raw")
        yield "-drive"
        yield f"if=none,id={ident}," + ",".join(f"{k}={v}" for k, v in options.items())


def find_qemu(arch):
    """QEMU=FILE, or the one that scripts/qemu builds."""
    given = os.environ.get("QEMU")
    if not given:
        return os.path.join(made_by("qemu", arch), f"qemu-system-{QEMU_ARCH[arch]}")
    path = os.path.join(given, f"qemu-system-{QEMU_ARCH[arch]}") if os.path.isdir(given) else given
    if not os.access(path, os.X_OK):
        raise Error(f"QEMU={given}: no program there")
    return path


def parallel_cpus(arch):
    """Do the CPUs of a guest run at the same time? Under TCG x86_64 kernels break that patch their own text."""
    return os.environ.get("ACCEL", "tcg") != "tcg" or arch != "x86_64"


def device_tree(args, work, domain):
    """-dtb with the machine's own device tree, but another PCI domain."""
    path = f"{work}/dtb"
    dump = list(args)
    dump[dump.index("-machine") + 1] += f",dumpdtb={path}"
    subprocess.run(dump, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    with open(path, "rb") as f:
        tree = bytearray(f.read())
    begin, strings = struct.unpack(">II", tree[8:16])
    strings_size, size = struct.unpack(">II", tree[32:40])
    name = tree.index(b"linux,pci-domain\0", strings) - strings
    prop = struct.pack(">III", 3, 4, name)
    at = tree.index(prop, begin) + len(prop)
    tree[at:at + 4] = struct.pack(">I", domain)
    # QEMU makes room behind it, and then it is too large for the kernel.
    end = max(begin + size, strings + strings_size)
    tree[4:8] = struct.pack(">I", end)
    with open(path, "wb") as f:
        f.write(tree[:end])
    return ["-dtb", path]


def kernel_image(guest, kernel):
    """What to boot. Firmware that a test brings along may know no PVH, or not how to resume what began so."""
    if guest.vmlinuz:
        return guest.vmlinuz
    unpacked = f"{kernel}/vmlinux"
    return unpacked if os.path.exists(unpacked) and "-bios" not in guest.qemu_args else f"{kernel}/vmlinuz"


def boot_args(guest, work, kernel, append):
    initrd = guest.initrd or f"{work}/initramfs"
    if not guest.uefi:
        return ["-kernel", kernel_image(guest, kernel), "-initrd", initrd, "-append", append]
    firmware, variables = guest.uefi
    shutil.copy(variables, f"{work}/vars.fd")
    os.makedirs(f"{work}/boot", exist_ok=True)
    shutil.copy(f"{kernel}/vmlinuz", f"{work}/boot/vmlinuz")
    shutil.copy(initrd, f"{work}/boot/initrd")
    with open(f"{work}/boot/adp.cfg", "w", encoding="ascii") as f:
        f.write(f"linux /vmlinuz {append}\ninitrd /initrd\nboot\n")
    size = sum(e.stat().st_size for e in os.scandir(f"{work}/boot")) // (1 << 20) + 8
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext2", "-d", f"{work}/boot", f"{work}/boot.img", f"{size}M"],
                   env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}, check=True,
                   stdin=subprocess.DEVNULL)
    # Only what runs in the mode of the firmware may write its variables.
    smm = ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]
    return [*(smm if guest.arch == "x86_64" else []),
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={firmware}/code.fd",
            "-drive", f"if=pflash,unit=1,format=raw,file={work}/vars.fd",
            "-drive", f"if=none,id=esp,format=raw,readonly=on,file={firmware}/esp",
            "-drive", f"if=none,id=boot,format=raw,readonly=on,file={work}/boot.img",
            "-device", "virtio-blk-pci,drive=esp,bootindex=0,romfile=", "-device", "virtio-blk-pci,drive=boot,bootindex=1,romfile="]


def command_line(guest, work, kernel, base, qemu):
    accel = os.environ.get("ACCEL", "tcg")
    console = CONSOLE[guest.arch][0]
    if guest.cpus > 1 and not parallel_cpus(guest.arch):
        accel = "tcg,thread=single"
    if guest.arch == "arm64":
        # A GICv3 keeps its tables where the last kernel has put them, which only firmware passes on.
        machine, cpu = f"virt,gic-version={2 if guest.kexec else 3}", "cortex-a76"
        if guest.kernel.startswith("fedora"):
            # That signs return addresses, if the CPU can.
            cpu = "max,pauth-impdef=on"
    else:
        machine, cpu = "q35", "max"
    if not accel.startswith("tcg"):
        cpu = "host"
    chosen = guest.cpu.get(guest.arch) if isinstance(guest.cpu, dict) else guest.cpu
    append = " ".join([f"console={console} panic=-1 oops=panic softlockup_panic=1 hung_task_panic=1",
                       brisk(guest), hard_look(guest), guest.append])
    args = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-shutdown",
            "-name", guest.name, "-L", f"{base}/firmware",
            "-machine", ",".join(filter(None, (machine, guest.machine))),
            "-accel", accel, "-cpu", chosen or cpu, "-smp", str(guest.cpus), "-m", guest.memory,
            *boot_args(guest, work, kernel, append.strip()),
            "-chardev", f"file,id=console,path={work}/console", "-serial", "chardev:console",
            "-chardev", f"file,id=out,path={work}/out" + (f",input-path={work}/in" if guest.qmp else ""),
            "-serial", "chardev:out",
            "-qmp", f"unix:{work}/qmp,server=on,wait=off"]
    if guest.arch == "x86_64" and not guest.uefi:
        # SeaBIOS would use NVMe drives before Linux, and that would be stray DMA.
        args += ["-bios", "qboot.rom"]
    if guest.domain:
        args += device_tree(args, work, guest.domain)
    if not guest.reboot:
        args.append("-no-reboot")
    if guest.icount:
        args += ["-icount", guest.icount]
    args += [*drive_args(guest, work), *device_args(guest), *guest.qemu_args]
    return [a.replace("@WORK@", work) for a in args]


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as f:
            return f.read().replace("\r\n", "\n")
    except FileNotFoundError:
        return ""


def kept_waiting(process):
    """Seconds for which a process was ready to run and had no CPU: of its threads', the longest."""
    longest = 0
    for path in glob.glob(f"/proc/{process.pid}/task/*/schedstat"):
        try:
            with open(path, encoding="ascii") as f:
                longest = max(longest, int(f.read().split()[1]))
        except (OSError, IndexError):
            pass        # the thread is gone, or this kernel does not count
    return longest / 1e9


def cpu_seconds(process):
    """What a process has used of CPUs, all of its threads together; 0 if it is gone."""
    try:
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watch(process, work, guest, host, result):
    """Follow a running QEMU to its end; the counters are read while it lingers.

    A machine that is busy with something else does not count against the guest's
    limit: it is extended by the time that QEMU had to wait for a CPU, threefold at most.
    """
    begun = time.monotonic()
    qmp = None
    while process.poll() is None:
        if time.monotonic() > begun + guest.timeout:
            if time.monotonic() > begun + min(guest.timeout + kept_waiting(process), 3 * guest.timeout):
                result.timed_out = True
                with open(f"{work}/registers", "w", encoding="utf-8") as f, contextlib.suppress(Error, OSError, EOFError):
                    f.write(qmp("human-monitor-command", **{"command-line": "info registers -a"}) if qmp else "")
                return
        time.sleep(0.05)
        result.cpu_seconds = max(result.cpu_seconds, cpu_seconds(process))
        if qmp is None:
            try:
                qmp = Qmp(f"{work}/qmp")
            except (FileNotFoundError, ConnectionError, EOFError, TimeoutError):
                qmp = None
            continue
        try:
            if qmp("query-status")["status"] in ("shutdown", "guest-panicked", "internal-error"):
                result.device = qmp.counters(guest.domain)
                qmp("quit")
                process.wait(10)
            else:
                host.serve(qmp, result)
        except TimeoutError:
            qmp = None
        except (EOFError, ConnectionError, subprocess.TimeoutExpired):
            pass


def judge(guest, result):
    """What the guest and QEMU left behind, into the result."""
    marker = re.compile(r"\nadp-vm: exit (\d+)\n")
    found = marker.search(result.output)
    if found:
        result.status = int(found.group(1))
    result.output = marker.sub("", result.output)
    if guest.qmp:
        result.output = re.sub(r"\n?adp-vm: qmp .*\n", "", result.output)
    lines = result.console.splitlines()
    for line in ours_only(lines) if "BUG: KCSAN" in result.console else lines:
        if TROUBLE.search(line) and not HARMLESS.search(line):
            result.trouble.append(line.strip())
        found = TOTALS.search(line)
        if found:
            sums = result.driver.setdefault(found.group(1), {})
            for key, value in re.findall(r"(\w+)=(\d+)", found.group(2)):
                value = int(value)
                sums[key] = max(sums.get(key, 0), value) if key.startswith("peak") else sums.get(key, 0) + value


def compare(device, driver):
    """Differences between the device's counters and the module's; none is well. Who was told lies is not asked."""
    pairs = [("doorbells", "doorbells"), ("map-entries", "map_entries"), ("unmap-entries", "unmap_entries"),
             ("live-mappings", "live_mappings"), ("live-bytes", "live_bytes"),
             ("peak-mappings", "peak_mappings"), ("peak-bytes", "peak_bytes")]
    found = []
    for address in sorted(device.keys() | driver.keys()):
        dev, drv = device.get(address, {}), driver.get(address, {})
        if dev.get("hostile-guests"):
            continue
        for d, g in pairs:
            if dev.get(d, 0) != drv.get(g, 0):
                found.append(f"{address}: {d} is {dev.get(d, 0)} for the device, {drv.get(g, 0)} for the module")
        refused = sum(dev.get(r, 0) for r in REFUSED)
        counted = (drv.get("refused_maps", 0) + drv.get("refused_unmaps", 0)
                   + drv.get("searched", 0) - drv.get("recovered", 0))
        if refused != counted:
            found.append(f"{address}: {refused} entries refused by the device, {counted} counted by the module")
        if dev.get("live-mappings") or dev.get("live-bytes"):
            found.append(f"{address}: {dev['live-mappings']} mappings ({dev['live-bytes']} bytes) are left")
        if dev.get("bad-batches"):
            found.append(f"{address}: {dev['bad-batches']} bad batches")
    return found


def hard_look(guest):
    """What a kernel that looks hard is told to do when it finds something."""
    if not guest.kernel.startswith(DEBUG):
        return ""
    # To make the 256 old terminals that nobody uses takes a third of such a kernel's start.
    words = ["page_poison=1", "pty.legacy_count=0"]
    # Of races, the kernel has some of its own.
    if not guest.kernel.endswith("kcsan"):
        words.append("panic_on_warn=1")
    # The tests' own driver maps memory more than once, which DMA_API_DEBUG takes for a mistake.
    if any(d.startswith("edu,") for d in guest.devices):
        words.append("dma_debug=off")
    return " ".join(words)


def ours_only(lines):
    """Without the reports of KCSAN that name nothing of ours."""
    report = None
    for line in lines:
        if re.search(r"\] =====+$|^=====+$", line):
            if report and any("[adp_" in r or f"[{DRIVER}]" in r for r in report):
                yield from report
            report = [] if report is None else None
        elif report is None:
            yield line
        else:
            report.append(line)
            # Others draw such lines, too.
            if len(report) == 1 and "KCSAN" not in line:
                yield from report
                report = None
    # The guest may have ended in the midst of one, and what ended it is there.
    yield from report or ()


def prepare(guest):
    """Everything that a guest needs, made or found: (kernel, release, base, modules, selftests, qemu)."""
    guest.arch = arch_name(guest.arch)
    kernel = made_by("kernel", guest.kernel, guest.arch)
    base = made_by("guest", guest.arch)
    ours = None if guest.vmlinuz else made_by("modules", guest.kernel, guest.arch)
    selftests = made_by("selftests", guest.arch) if guest.selftests else None
    return kernel, read(f"{kernel}/release").strip(), base, ours, selftests, find_qemu(guest.arch)


def run(guest, keep=None):
    """Boot it, and say how it went. keep: a directory for console, output, and drives made here."""
    kernel, release, base, ours, selftests, qemu = prepare(guest)
    if guest.kernel.startswith(DEBUG):
        guest = dataclasses.replace(guest, timeout=guest.timeout * PATIENCE)
    # A socket's path is short.
    work = keep or tempfile.mkdtemp(prefix="adp-vm-")
    os.makedirs(work, exist_ok=True)
    result = Result()
    begun = time.monotonic()
    process = host = None
    try:
        for name in ("console", "out", "in", "qmp", "stderr", "host", "registers"):
            if os.path.exists(f"{work}/{name}"):
                os.unlink(f"{work}/{name}")
        host = Host(guest, work)
        if not guest.initrd:
            make_initramfs(guest, f"{work}/initramfs", kernel, release, base, ours, selftests)
        args = command_line(guest, work, kernel, base, qemu)
        with open(f"{work}/command", "w") as f:
            f.write(" ".join(f"'{a}'" if re.search(r"[^\w=,./:+-]", a) else a for a in args) + "\n")
        with open(f"{work}/stderr", "wb") as err:
            process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=err, stderr=err)
            RUNNING.add(process)
            watch(process, work, guest, host, result)
    finally:
        if host:
            host.close()
        if process and process.poll() is None:
            process.kill()
            process.wait()
        RUNNING.discard(process)
        result.seconds = time.monotonic() - begun
        result.output = read(f"{work}/out")
        result.console = read(f"{work}/console")
        result.stderr = read(f"{work}/stderr")
        result.qemu_status = process.returncode if process else None
        if not keep:
            shutil.rmtree(work)
    judge(guest, result)
    return result


def complaints(guest, result, counters=True, qemu_status=0, allow=()):
    """Why a run is not a good one, apart from the script's own status. Empty: it is."""
    found = []
    allowed = [re.compile(a) for a in allow]
    if result.timed_out:
        found.append(f"not finished after {guest.timeout:.0f} s, killed")
    elif result.qemu_status != qemu_status:
        said = result.stderr.strip().splitlines()[-1:] or [""]
        found.append(f"QEMU ended with status {result.qemu_status} instead of {qemu_status}: {said[0]}")
    elif result.status is None and not qemu_status:
        found.append("the guest ended before its script")
    found += [f"the guest said: {line}" for line in result.trouble
              if not any(a.search(told(result.console, line)) for a in allowed)][:8]
    if not qemu_status and not result.timed_out:
        if counters:
            found += compare(result.device, result.driver)
        if guest.stray_exit and any(c["stray-accesses"] for c in result.device.values()):
            found.append("stray accesses were counted")
    return found


def told(console, line):
    """A line of trouble; a call trace or locks that are held with what the kernel says before and after, in one line."""
    if not re.search(r"[Cc]all [Tt]race:|lock held when", line):
        return line
    lines = [text.strip() for text in console.splitlines()]
    at = lines.index(line) if line in lines else None
    return line if at is None else " ".join(lines[max(at - 4, 0):at + 16])


def after(console, line, count=60):
    """What the console has after a line: where a kernel broke, and by what way it came there."""
    lines = [text.strip() for text in console.splitlines()]
    first = lines.index(line) + 1 if line in lines else len(lines)
    return lines[first:first + count]


def host(*args):
    """A tool's output and status, both of which matter."""
    env = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    return subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                          stdin=subprocess.DEVNULL, errors="replace")


def follow(path, running):
    """The lines of a guest's output, while it runs."""
    rest = ""
    position = 0
    ending = False
    while True:
        ending = ending or running.done()
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as f:
                f.seek(position)
                rest += f.read()
                position = f.tell()
        *lines, rest = rest.split("\n")
        yield from lines
        if ending:
            return
        time.sleep(0.5)


def run_followed(guest, keep, tell):
    """run(), with tell(LINE) for every line of the guest's output when it comes."""
    prepare(guest)
    # Not those of an earlier run.
    if os.path.exists(f"{keep}/out"):
        os.unlink(f"{keep}/out")
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(run, guest, keep)
        for line in follow(f"{keep}/out", running):
            tell(line)
        return running.result()


def tail(text, lines=40):
    return "\n".join(text.splitlines()[-lines:])


RUNNING = set()


def descendants():
    """All processes that this one has started, and those that they have, as far as their parents live."""
    children = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                # The name, in parentheses, may have anything in it.
                parent = int(f.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(pid))
    found = []
    next_ones = [os.getpid()]
    while next_ones:
        next_ones = [c for p in next_ones for c in children.get(p, [])]
        found += next_ones
    return found


def stop_on_signals():
    """Nothing is left behind, also by a run in another thread: no QEMU, and nobody that builds for us."""
    def handler(number, _frame):
        for process in list(RUNNING):
            process.kill()
        # A shell that is ended does not tell those for whom it waits.
        for pid in descendants():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        sys.exit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)
