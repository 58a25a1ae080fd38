#!/bin/bash
# firmware.sh DIR: builds three releases of a set-top box's root file system from
# Debian's packages into DIR/fw, each as squashfs (zstd) and as ext4 of 512 MiB:
#   v1   a point release of bookworm, with a browser engine, a kernel and an application
#   v1m  v1 and a minor release: five packages of security updates, edited files
#   v2   v1 and a major release: every update there is (browser engine, kernel …),
#        packages added, files edited, added and removed
# Two builds from the same packages are the same bytes. What is there already is kept.
# Needs root, debootstrap, squashfs-tools, e2fsprogs, python3, apt's mirrors; 4 GB of
# disk, and about five minutes.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

dir=$1
trees=$dir/trees
fw=$dir/fw
size_mib=512
epoch=1700000000

# The mirrors are the host's own.
site() { apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $1" | head -n 1; }
mirror=$(site bookworm)
security=$(site bookworm-security)
mirror=${mirror:-http://deb.debian.org/debian}
security=${security:-http://deb.debian.org/debian-security}

packages='systemd systemd-sysv udev dbus kmod iproute2 wpasupplicant dropbear-bin curl alsa-utils avahi-daemon
	python3-minimal fonts-dejavu-core gstreamer1.0-plugins-good gstreamer1.0-alsa libxml2-utils nftables zstd libubootenv-tool'
browser='libwebkit2gtk-4.1-0 libjavascriptcoregtk-4.1-0'

# inside TREE COMMAND…: runs a command in a tree, with a clean environment.
inside() {
	local tree=$1
	shift
	chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
}

# sources TREE LINE…: sets where a tree's packages come from.
sources() {
	local tree=$1
	shift
	printf 'deb %s\n' "$@" >"$tree/etc/apt/sources.list"
	inside "$tree" apt-get -qq update
}

# kernel_of TREE FILE: fetches the package of the newest kernel that the tree knows.
kernel_of() {
	inside "$1" sh -c 'cd /tmp && apt-get -qq download $(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: //p" | head -n 1)' 2>>"$dir/firmware.log"
	mv "$1"/tmp/linux-image*.deb "$2"
}

# v1 has the older browser engine of the two that the archive keeps, so that v2 has a
# real rebuild of it.
make_v1() {
	local tree=$trees/v1 older package
	rm -rf "$tree"
	debootstrap --variant=minbase --include=ca-certificates bookworm "$tree" "$mirror" >>"$dir/firmware.log" 2>&1
	cp /etc/resolv.conf "$tree/etc/resolv.conf"
	printf '%s\n' 'APT::Install-Recommends "false";' 'Acquire::Check-Valid-Until "false";' 'Acquire::Check-Date "false";' >"$tree/etc/apt/apt.conf.d/99bench"
	printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
	chmod +x "$tree/usr/sbin/policy-rc.d"
	sources "$tree" "$mirror bookworm main" "$security bookworm-security main"
	older=$(inside "$tree" apt-cache madison libwebkit2gtk-4.1-0 | awk '{ print $3 }' | sort -V | head -n 1)
	for package in $browser; do
		inside "$tree" sh -c "cd /tmp && apt-get -qq download $package=$older" 2>>"$dir/firmware.log"
	done
	sources "$tree" "$mirror bookworm main"
	# shellcheck disable=SC2086 # lists of words
	{
		inside "$tree" sh -c "apt-get -qq -y install /tmp/lib*gtk-4.1-0_*.deb && apt-mark hold $browser" >>"$dir/firmware.log" 2>&1
		inside "$tree" apt-get -qq -y install $packages >>"$dir/firmware.log" 2>&1
		inside "$tree" apt-mark unhold $browser >>"$dir/firmware.log"
	}
	kernel_of "$tree" "$trees/kernel1.deb"
	touch "$trees/v1.done"
}

make_later() {
	local name
	rm -rf "$trees/v1m" "$trees/v2"
	for name in v1m v2; do
		cp -a "$trees/v1" "$trees/$name"
		sources "$trees/$name" "$mirror bookworm main" "$mirror bookworm-updates main" "$security bookworm-security main"
	done
	inside "$trees/v1m" apt-get -qq -y install --only-upgrade libssl3 openssl libpython3.11-minimal python3.11-minimal \
		gstreamer1.0-plugins-good >>"$dir/firmware.log" 2>&1
	inside "$trees/v2" apt-get -qq -y dist-upgrade >>"$dir/firmware.log" 2>&1
	inside "$trees/v2" apt-get -qq -y install tcpdump mtr-tiny fonts-liberation >>"$dir/firmware.log" 2>&1
	kernel_of "$trees/v2" "$trees/kernel2.deb"
	for name in v1 v1m v2; do
		inside "$trees/$name" dpkg-query -W -f '${Package} ${Version}\n' | sort >"$fw/$name.packages"
		strip "$trees/$name"
	done
	kernel_into "$trees/v1" "$trees/kernel1.deb"
	kernel_into "$trees/v1m" "$trees/kernel1.deb"
	kernel_into "$trees/v2" "$trees/kernel2.deb"
	application "$trees/v1" 1
	application "$trees/v1m" 2
	application "$trees/v2" 3
	touch "$trees/later.done"
}

# strip TREE: what the build of an image takes away, and what no box of this kind has.
strip() {
	local r=$1 lib=$1/usr/lib/x86_64-linux-gnu
	rm -rf "$r"/var/cache/apt/* "$r"/var/lib/apt/lists/* "$r"/var/cache/debconf/*-old "$r"/var/log/* "$r"/var/lib/dpkg/*-old \
		"$r"/var/cache/ldconfig "$r"/etc/resolv.conf "$r"/tmp/* "${r:?}"/boot/* "$r"/usr/share/{doc,man,info,locale,icons}/* \
		"$r"/usr/share/{lintian,bug} "$r"/usr/share/X11/locale "$r"/usr/lib/udev/hwdb.{bin,d} \
		"$lib"/{libLLVM*,libz3.so*,dri,libflite*,libSvtAv1Enc*,gconv,libfftw3*}
	find "$r" -xdev -type f -name '*.a' -delete
	find "$r" -xdev -type s -delete
}

# kernel_into TREE PACKAGE: a kernel, and the modules that a box ships.
kernel_into() {
	local tree=$1 work release part
	work=$(mktemp -d -p "$trees")
	dpkg-deb -x "$2" "$work"
	release=$(basename "$work"/lib/modules/*)
	rm -rf "$tree"/lib/modules/*
	mkdir -p "$tree/boot"
	cp "$work"/boot/vmlinuz-* "$tree/boot/vmlinuz"
	for part in crypto net lib fs/ext4 fs/squashfs fs/overlayfs fs/fat fs/fuse drivers/block drivers/md; do
		[ -d "$work/lib/modules/$release/kernel/$part" ] || continue
		mkdir -p "$tree/lib/modules/$release/kernel/$(dirname $part)"
		cp -a "$work/lib/modules/$release/kernel/$part" "$tree/lib/modules/$release/kernel/$part"
	done
	rm -rf "$work"
}

# application TREE REVISION: the operator's own application, about 16 MiB of text and
# of pictures that do not compress.
application() {
	python3 - "$1" "$2" <<'PYTHON'
import hashlib, os, random, sys
root, revision = sys.argv[1], int(sys.argv[2])
app = os.path.join(root, 'opt/stb-app')
os.makedirs(app + '/ui', exist_ok=True)
os.makedirs(app + '/assets', exist_ok=True)
words = [hashlib.md5(str(i).encode()).hexdigest()[:random.Random(i).randint(3, 9)] for i in range(4000)]
for i in range(60):
    r = random.Random(1000 + i)
    text = ' '.join(r.choice(words) + r.choice(['(', '){', ';', '=', ',', '.']) for _ in range(14000))
    if revision >= 2 and i % 6 == 0:  # an insertion, which moves the rest
        at = len(text) // 3
        text = text[:at] + '/*rev%d*/' % revision + ' '.join(r.choice(words) for _ in range(200)) + text[at:]
    open(f'{app}/ui/chunk{i:02}.js', 'w').write(text)
for i in range(40):
    if revision >= 2 and i == 39:
        continue
    seed = f'{i}-v2' if revision >= 2 and i < 4 else str(i)
    open(f'{app}/assets/a{i:02}.bin', 'wb').write(random.Random(seed).randbytes(262144))
if revision >= 2:
    open(f'{app}/assets/new.bin', 'wb').write(random.Random('new').randbytes(300000))
open(root + '/etc/stb-release', 'w').write(f'STB_VERSION=1.{revision}.0\nBUILD=2024010{revision}\n')
PYTHON
}

# image NAME: DIR/fw/NAME.sqfs and DIR/fw/NAME.ext4 of a tree.
image() {
	local uuid=11111111-2222-3333-4444-555555555555
	find "$trees/$1" -xdev -print0 | xargs -0 touch -h -d "@$epoch"
	rm -f "$fw/$1.ext4" "$fw/$1.sqfs"
	truncate -s ${size_mib}M "$fw/$1.ext4.new"
	SOURCE_DATE_EPOCH=$epoch mkfs.ext4 -q -F -b 4096 -L rootfs -U $uuid -O ^metadata_csum_seed,^orphan_file \
		-E hash_seed=$uuid,lazy_itable_init=0,lazy_journal_init=0 -d "$trees/$1" "$fw/$1.ext4.new"
	mksquashfs "$trees/$1" "$fw/$1.sqfs.new" -quiet -no-progress -comp zstd -Xcompression-level 15 -b 128K \
		-mkfs-time $epoch -all-time $epoch -no-xattrs -noappend
	mv "$fw/$1.ext4.new" "$fw/$1.ext4"
	mv "$fw/$1.sqfs.new" "$fw/$1.sqfs"
}

mkdir -p "$trees" "$fw"
[ -e "$trees/v1.done" ] || make_v1
[ -e "$trees/later.done" ] || make_later
for name in v1 v1m v2; do
	[ -e "$fw/$name.ext4" ] && [ -e "$fw/$name.sqfs" ] || image "$name"
done
for name in v1m v2; do
	echo "v1 -> $name: $(diff "$fw/v1.packages" "$fw/$name.packages" | grep -c '^>') packages changed or added"
done
