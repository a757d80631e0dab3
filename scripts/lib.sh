# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Shared by the shell scripts of this directory: messages, long steps with a
# log, root, the cache, locks, and packages from the Debian archive.
#
# Scripts print what they made (a path) on stdout and everything else on stderr.

set -euo pipefail
umask 022
export LC_ALL=C

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/apple-dma-pci
logs=$top/build/log

die() {
	printf '%s: error: %s\n' "${0##*/}" "$1" >&2
	shift
	[ $# -eq 0 ] || printf '    %s\n' "$@" >&2
	exit 1
}

case $cache$top in
*[[:space:]:,=]*)
	die "blanks, ':', ',' and '=' cannot be used in '$cache' or '$top'" \
	    "overlay mounts and make take paths apart there: move the tree, or set XDG_CACHE_HOME" ;;
/*) ;;
*) die "XDG_CACHE_HOME must be an absolute path, it is '${XDG_CACHE_HOME-}'" ;;
esac
mkdir -p "$cache/lock" "$logs"

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "root is needed for: $*" "run as root, or install sudo"
	fi
}

# with_lock NAME COMMAND...: one process at a time runs a command under NAME.
# The programs that COMMAND starts do not inherit the lock.
with_lock() {
	local name=$1
	shift
	{
		if ! flock -n 9; then
			printf '   waiting for another run that holds "%s"\n' "$name" >&2
			flock 9
		fi
		"$@" 9>&-
	} 9>"$cache/lock/$name"
}

# Says from time to time that a step is still going on and what its log says
# last, until that step's shell is gone.
tick() {
	local what=$1 log=$2 parent=$3 begun=$SECONDS pause=20 last
	trap '' INT
	[ ! -t 2 ] || pause=1
	while sleep 1 && kill -0 "$parent" 2>/dev/null; do
		[ $(((SECONDS - begun) % pause)) -eq 0 ] || continue
		last=$(tail -c 300 "$log" 2>/dev/null | tr -c '[:print:]\n' ' ' | tail -n 1 | cut -c1-40)
		if [ -t 2 ]; then
			printf '\r\033[K   %s ... %d s  %s' "$what" $((SECONDS - begun)) "$last" >&2
		else
			printf '   %s ... %d s  %s\n' "$what" $((SECONDS - begun)) "$last" >&2
		fi
	done
}

# step WHAT COMMAND...: run a long command with its output in a log, whose tail
# is shown if it fails. Not in a condition: errexit would be off in COMMAND.
step() {
	local what=$1 begun=$SECONDS log ticker rc
	shift
	log=$logs/$(printf '%s' "$what" | tr -cs 'a-zA-Z0-9._+-' '-' | cut -c1-80).log
	[ -t 2 ] || printf '   %s\n' "$what" >&2
	tick "$what" "$log" $$ </dev/null >/dev/null &
	ticker=$!
	set +e
	(
		set -e
		"$@"
	) >"$log" 2>&1 </dev/null
	rc=$?
	set -e
	kill "$ticker" 2>/dev/null || :
	wait "$ticker" 2>/dev/null || :
	[ ! -t 2 ] || printf '\r\033[K' >&2
	if [ $rc -ne 0 ]; then
		printf -- '---- the end of %s\n' "$log" >&2
		tail -n 40 "$log" >&2
		printf -- '----\n' >&2
		die "$what: failed with status $rc after $((SECONDS - begun)) s" "the whole log is $log"
	fi
	printf '   %s: done, %d s\n' "$what" $((SECONDS - begun)) >&2
}

# make_entry DIR WHAT COMMAND...: make the cache entry DIR once. COMMAND gets a
# temporary directory to fill as its last argument; nobody sees a half-made one.
make_entry() {
	local dir=$1
	[ ! -e "$dir" ] || return 0
	mkdir -p "$(dirname "$dir")"
	with_lock "$(printf '%s' "${dir#"$cache"/}" | tr / -)" make_entry_locked "$@"
}

make_entry_locked() {
	local dir=$1 what=$2
	shift 2
	[ ! -e "$dir" ] || return 0
	rm -rf "$dir".tmp 2>/dev/null || as_root rm -rf "$dir".tmp
	mkdir -p "$dir".tmp
	step "$what" "$@" "$dir".tmp
	mv -T "$dir".tmp "$dir"
}

# The hash of the names, modes and contents of files and directories.
hash_files() {
	find "$@" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16
}

hash_text() {
	printf '%s\n' "$@" | sha256sum | cut -c1-16
}

native=$(dpkg --print-architecture)

# debian_arch ARCH: accepts the kernel's and Debian's names of an architecture.
debian_arch() {
	case ${1-} in
	arm64|aarch64) echo arm64 ;;
	x86_64|amd64) echo amd64 ;;
	*) die "unknown architecture '${1-}'" "ARCH is arm64 or x86_64" ;;
	esac
}

qemu_arch() {
	case $(debian_arch "$1") in
	arm64) echo aarch64 ;;
	amd64) echo x86_64 ;;
	esac
}

# What this machine's apt says about where Debian is: "URI SUITE" per line.
apt_sources() {
	local etc list deb822
	etc=$(apt-config shell d Dir::Etc/d)
	eval "$etc"
	# shellcheck disable=SC2154 # d comes from apt-config
	for deb822 in "$d"sources.list.d/*.sources; do
		[ -r "$deb822" ] || continue
		awk '
		function flush(  i, j) {
			if (tolower(f["enabled"]) !~ /^(no|false|0)$/ && f["types"] ~ /(^| )deb( |$)/ &&
			    f["components"] ~ /(^| )main( |$)/) {
				m = split(f["uris"], u, " "); n = split(f["suites"], s, " ")
				for (i = 1; i <= m; i++) for (j = 1; j <= n; j++) print u[i], s[j]
			}
			delete f
		}
		/^#/ { next }
		/^[ \t]*$/ { flush(); next }
		/^[ \t]/ { f[k] = f[k] " " $0; next }
		{ k = tolower($0); sub(/:.*/, "", k); v = $0; sub(/^[^:]*:[ \t]*/, "", v); f[k] = v }
		END { flush() }' "$deb822"
	done
	for list in "$d"sources.list "$d"sources.list.d/*.list; do
		[ -r "$list" ] || continue
		sed -n 's/#.*//; s/\[[^]]*\]//; s/^[ \t]*deb[ \t][ \t]*//p' "$list" |
			awk '{ for (i = 3; i <= NF; i++) if ($i == "main") { print $1, $2; next } }'
	done
}

# The Debian archive's URIs, the likeliest first; apt's signatures decide.
archive_uris() {
	local codename uris
	# shellcheck disable=SC1091
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	uris=$(apt_sources | awk -v c="$codename" \
		'($2 == c || $2 == "stable" || $2 == "oldstable") && $1 !~ /^cdrom:/ && !seen[$1]++ \
		{ print ($1 ~ /\/debian\/?$/ ? 0 : 1), $1 }' | sort -s -n -k1,1 | cut -d' ' -f2)
	[ -n "$uris" ] || die "no source of Debian's '$codename' main was found in this machine's apt configuration" \
		"add one to /etc/apt/sources.list.d (this needs a Debian 12 or 13 machine)"
	echo "$uris"
}

# apt_root SUITE[+SUITE]: a private apt for one suite of the archive, or some; prints its directory.
# Nothing of the machine's own apt state is read or changed.
apt_root() {
	local dir=$cache/apt/$1
	with_lock "apt-$1" apt_root_locked "$1" "$dir"
	echo "$dir"
}

apt_root_locked() {
	local suite=$1 dir=$2
	[ -z "$(find "$dir/fresh" -mmin -60 2>/dev/null)" ] || return 0
	step "reading Debian's package index of $suite" apt_root_update "$suite" "$dir"
}

apt_root_update() {
	local suite=$1 dir=$2 uri s kind=deb valid=
	mkdir -p "$dir"/lists/partial "$dir"/cache/archives/partial
	: >"$dir"/status
	# An index that a mirror no longer renews is signed all the same, and
	# sources are pinned to a series: there is no update to miss.
	case $suite in
	*-src) kind='deb-src'; valid='Acquire::Check-Valid-Until "false";' ;;
	esac
	{
		# The machine's way to the network, and nothing else of its configuration.
		apt-config dump | grep -E '^Acquire::(https?::|Retries|ForceIPv|Check-Valid-Until|Check-Date)' || :
		cat <<-CONF
		Dir::Etc::main "/dev/null";
		Dir::Etc::parts "/dev/null";
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State::lists "$dir/lists";
		Dir::State::status "$dir/status";
		Dir::Cache "$dir/cache";
		APT::Sandbox::User "";
		APT::Get::AllowUnauthenticated "false";
		Acquire::AllowInsecureRepositories "false";
		Acquire::Languages "none";
		$valid
		APT::Architecture "$native";
		APT::Architectures { "amd64"; "arm64"; };
		CONF
	} >"$dir"/apt.conf
	for uri in $(archive_uris); do
		for s in ${suite//+/ }; do
			printf '%s [signed-by=%s] %s %s main\n' "$kind" \
				/usr/share/keyrings/debian-archive-keyring.gpg "$uri" "${s%-src}"
		done >"$dir"/sources.list
		if APT_CONFIG=$dir/apt.conf apt-get update --error-on=any; then
			touch "$dir"/fresh
			return 0
		fi
	done
	return 1
}

# fetch_debs SUITE DIR PACKAGE[:ARCH][=VERSION]...: download, verified by apt, into DIR.
# What was taken is written down in DIR/packages.
fetch_debs() {
	local root
	root=$(apt_root "$1")
	mkdir -p "$2"
	(
		cd "$2"
		shift 2
		APT_CONFIG=$root/apt.conf apt-get -q download "$@" &&
			sha256sum -- *.deb >packages
	)
}

# apt_closure SUITE ARCH OPTION... PACKAGE...: what apt would install on an empty system, with what
# that takes, as NAME:ARCH=VERSION.
apt_closure() {
	local root arch=$2
	root=$(apt_root "$1")
	shift 2
	# The index that is kept is for the machine's own architecture.
	APT_CONFIG=$root/apt.conf apt-get -q -s -o APT::Architecture="$arch" -o APT::Architectures="$arch" \
		-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= install "$@" |
		sed -nE 's/^Inst ([^ :]+)[^ ]* (\[[^]]*\] )?\(([^ ]+) .*\[([a-z0-9]+)\]\).*/\1:\4=\3/p' | sort -u
}

# debian_root DIR SUITE ARCH VARIANT PACKAGE...: a Debian in DIR by mmdebstrap. With the variant
# `extract` nothing is configured, and all packages are in apt's cache there.
debian_root() {
	local root=$1 suite=$2 arch=$3 variant=$4 apt list options=() p
	local excludes=(doc man info locale)
	shift 4
	apt=$(apt_root "$suite")
	list=$(cat "$apt"/sources.list)
	grep '^Acquire::' "$apt"/apt.conf >"$root".apt || :
	for p in "${excludes[@]}"; do
		options+=(--dpkgopt="path-exclude=/usr/share/$p/*")
	done
	if [ "$variant" = extract ]; then
		options+=("--include=?essential" "--skip=essential/unlink,download/empty,cleanup/apt")
		# No maintainer script merges /usr; base-files of Debian 13 has the links.
		# shellcheck disable=SC2016 # mmdebstrap's
		[ "$suite" != bookworm ] ||
			options+=('--setup-hook=for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d"; done')
	fi
	as_root env -u APT_CONFIG TMPDIR=/tmp mmdebstrap --mode=root --variant="$variant" --architectures="$arch" \
		--include="$(IFS=,; echo "$*")" \
		--aptopt="$root".apt --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "0"' \
		--dpkgopt=force-unsafe-io "${options[@]}" "$suite" "$root" "$list"
	rm "$root".apt
	for p in "${excludes[@]}"; do
		as_root rm -rf "$root/usr/share/$p"
	done
}

# What configures a root directory that was extracted only, in a guest that has it for its root.
# All at once: dpkg finds the order in which to configure them.
# shellcheck disable=SC2034,SC2016 # for scripts that make images; dpkg-query's own variables
debian_configure='set -e
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
export PATH=/usr/sbin:/usr/bin HOME=/root
cd /var/cache/apt/archives
dpkg --force-depends --install ./*.deb
[ -z "$(dpkg --audit)" ]
apt-get clean
dpkg-query -W -f "\${Package} \${Version} \${Architecture}\n" >/packages
rm /var/cache/configure'

# debian_packages ROOT: what is installed in a root directory of the machine's own architecture.
debian_packages() {
	# shellcheck disable=SC2016 # dpkg-query's own variables
	as_root chroot "$1" dpkg-query -W -f '${Package} ${Version} ${Architecture}\n'
}

# debian_image ROOT IMAGE SIZE: a file system with the label adp-root of a root directory, which is
# gone then.
debian_image() {
	truncate -s "$3" "$2"
	as_root env PATH="$PATH":/usr/sbin:/sbin mke2fs -q -t ext4 -b 4096 -L adp-root -d "$1" "$2"
	as_root rm -rf "$1"
}

# debian_boot_configure KERNEL ARCH IMAGE: run /var/cache/configure in it, in a guest.
debian_boot_configure() {
	# shellcheck disable=SC2016 # the guest's
	"$top/scripts/vm" --arch "$2" --kernel "$1" --cpus 2 --memory 1G --no-load --timeout 3600 \
		--module virtio_blk --module ext4 --drive id=root,file="$3" --device virtio-blk-pci,drive=root -- '
		mkdir -p /mnt
		mount -t ext4 /dev/vda /mnt && mount --bind /dev /mnt/dev && mount -t proc proc /mnt/proc &&
			chroot /mnt /bin/sh /var/cache/configure
		status=$?
		umount /mnt/proc /mnt/dev
		exit $status'
	PATH=$PATH:/usr/sbin:/sbin e2fsck -fn "$3"
}

# note_versions WHAT FILE: what is used, for the reader of build/versions.txt.
note_versions() {
	local what=$1 file=$2 all=$top/build/versions.txt
	mkdir -p "$top/build"
	(
		flock 9
		{
			grep -v "^$what " "$all" 2>/dev/null || :
			sed "s#^#$what #" "$file"
		} | sort >"$all.new"
		mv "$all.new" "$all"
	) 9>"$cache/lock/versions"
}

# program_closure SUITE PACKAGE ARCH: what apt would install on an empty system, of that the
# packages that can have libraries of PACKAGE's.
program_closure() {
	APT_CONFIG=$(apt_root "$1")/apt.conf apt-get -q -s --no-install-recommends install "$2:$3" |
		sed -nE "s/^Inst ([^ ]+) \(([^ ]+) .*\[([a-z0-9]+)\]\).*/\1 \2 \3/p" |
		while read -r name version a; do
			[ "$a" = "$3" ] || continue
			case $name in
			libpython*) ;;
			"$2"|"$2":*|lib*|zlib*) echo "${name%:*}:$a=$version" ;;
			esac
		done
}

# program_needed ALL FILE ROOT: copy what a program is linked to, and what that is linked to.
program_needed() {
	local all=$1 file=$2 root=$3 name found
	for name in $(readelf -d "$file" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p'); do
		[ ! -e "$root/lib/$name" ] || continue
		found=$(find "$all" -name "$name" \( -type f -o -type l \) | head -n 1)
		[ -n "$found" ] || { echo "$name, which $file needs, is in no package"; return 1; }
		cp -L "$found" "$root/lib/$name"
		program_needed "$all" "$root/lib/$name" "$root"
	done
}

# make_program SUITE PACKAGE FILE ARCH DIR: for a cache entry, a program of Debian's and the
# libraries that it is linked to, in DIR/root, to lay over a root directory.
make_program() {
	local suite=$1 package=$2 file=$3 arch=$4 dir=$5 deb packages loader program
	mapfile -t packages < <(program_closure "$suite" "$package" "$arch")
	[ ${#packages[@]} -gt 0 ] || { echo "apt knows no way to install $package"; return 1; }
	fetch_debs "$suite" "$dir/debs" "${packages[@]}"
	mkdir "$dir"/all
	for deb in "$dir"/debs/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$dir"/all \
			--exclude='./usr/share' --exclude='./var' --exclude='./etc'
	done
	mkdir -p "$dir"/root/bin "$dir"/root/lib
	program=$dir/root/bin/$(basename "$file")
	cp "$dir/all/$file" "$program"
	program_needed "$dir"/all "$program" "$dir"/root
	# The C library loads it to end a thread.
	find "$dir"/all -name libgcc_s.so.1 -exec cp -t "$dir"/root/lib {} +
	loader=$(readelf -l "$program" | sed -nE 's/.*interpreter: (.*)\]/\1/p')
	mkdir -p "$dir/root$(dirname "$loader")"
	cp -L "$(find "$dir"/all -name "$(basename "$loader")" | head -n 1)" "$dir/root$loader"
	mv "$dir"/debs/packages "$dir"/packages
	rm -rf "$dir"/debs "$dir"/all
}

# kernel_targets: "NAME ARCH" of every kernel that all tests use, architecture and page size.
kernel_targets() {
	local name pages use
	while read -r name _ _ pages use _; do
		[ "$use" = check ] || continue
		echo "$name arm64"
		[ "$pages" != 16k ] || echo "$name-16k arm64"
		echo "$name x86_64"
	done < <(grep '^[^#]' "$top/scripts/kernels.conf")
}
