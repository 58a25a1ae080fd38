#!/bin/sh
# mkbox.sh DIR ARCH OTAD OTACTL: makes the parts of a virtual box in DIR/ARCH
# (arm64, armhf), with the otad binary OTAD in its images:
#
#   CODE[-FAULT].img, CODE[-FAULT].swu   system images, and artifacts signed by DIR/keys, but for 1
#   2-delta.swu, 2-delta-rootfs.zck      version 2 as a delta, and the file of its chunks
#   disk.img      GPT disk with boot partition and environment, its slots empty
#   parts         its partitions: name, offset and size in bytes
#   flash.img     U-Boot's own environment: start without delay
#
# Needs no root and no loop devices; fetch.sh has fetched Debian's packages.
set -eu
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
dir=$1 arch=$2 otad=$3 otactl=$4
out=$dir/$arch
debian=$dir/debian/$arch/root
kernel=$(ls "$debian/lib/modules")
mib=1048576
case $arch in
arm64) boot=booti slot_mib=64 watchdog="i6300esb heartbeat=10" watchdog_stage=1400 ;;
armhf) boot=bootz slot_mib=32 watchdog="softdog soft_margin=10" watchdog_stage=0 ;;
*) echo "mkbox.sh: $arch is not known" >&2; exit 64 ;;
esac
mkdir -p "$out"
[ -e "$dir/keys/ca.pem" ] || "$otactl" keygen --out "$dir/keys" >"$dir/keys.txt" 2>&1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# unsign MODULE: takes the kernel's signature off, to check it costs an emulated
# processor a third of a boot. At the end: the signature, 8 bytes, its length, a line.
unsign() {
	[ "$(tail -c 28 "$1" | tr -d '\0')" = "~Module signature appended~" ] || return 0
	length=$(tail -c 32 "$1" | head -c 4 | od -An -tx1 | tr -d ' ')
	truncate -s -$((0x$length + 40)) "$1"
}

# modules LIST NAME [ARGUMENTS]: copies a module and what it needs, those that
# are not there yet, and notes them in LIST, in order.
modules() {
	list=$work/initrd/modules/$1
	name=$2
	shift 2
	modprobe -d "$debian" -S "$kernel" --show-depends "$name" | awk '$1 == "insmod" { print $2 }' | while read -r file; do
		base=$(basename "$file")
		[ ! -e "$work/initrd/modules/$base" ] || continue
		cp "$file" "$work/initrd/modules/"
		unsign "$work/initrd/modules/$base"
		if [ "${base%%.*}" = "$name" ]; then echo "$base" "$@"; else echo "$base"; fi >>"$list"
	done
}

mkdir -p "$work/initrd/bin" "$work/initrd/proc" "$work/initrd/sys" "$work/initrd/dev" "$work/initrd/root" "$work/initrd/modules"
cp "$debian/bin/busybox" "$work/initrd/bin/"
for applet in sh mount insmod sleep usleep reboot mkdir ln cat switch_root; do ln -s busybox "$work/initrd/bin/$applet"; done
install -m 755 "$here/initramfs" "$work/initrd/init"
for module in virtio_mmio virtio_blk ext4; do modules disk $module; done
modules rest virtio_net
# shellcheck disable=SC2086 # a module and its argument
modules rest $watchdog
(cd "$work/initrd" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc -R 0:0 --quiet | gzip -1) >"$work/initrd.img"

# Nothing to do when nothing changed.
# shellcheck disable=SC2046 # a list of files
stamp=$(cat "$here"/mkbox.sh "$here"/board.cmd "$here"/initramfs "$here"/../uboot/*.cmd "$otad" "$otactl" "$dir/keys/signer.pem" \
	$(find "$here/rootfs" -type f | LC_ALL=C sort) | sha256sum)
if [ "$stamp" = "$(cat "$out/stamp" 2>/dev/null)" ]; then exit 0; fi
rm -f "$out/stamp"

# image CODE [FAULT]: a system image and its artifact; the first one needs none.
image() {
	root=$work/root
	name=$out/$1${2:+-$2}
	rm -rf "$root" "$name.img"
	cp -r "$here/rootfs" "$root"
	for empty in proc sys dev run tmp data root boot bin sbin usr/sbin var/lib etc/otad; do mkdir -p "$root/$empty"; done
	chmod 755 "$root"
	ln -s /run/lock "$root/var/lock"
	cp "$debian/bin/busybox" "$root/bin/"
	for applet in sh mount umount cat echo sleep ip mkdir grep dd ps pidof kill dmesg df; do ln -s busybox "$root/bin/$applet"; done
	for applet in init reboot; do ln -s ../bin/busybox "$root/sbin/$applet"; done
	cp "$debian/boot/vmlinuz-$kernel" "$root/boot/vmlinuz"
	cp "$work/initrd.img" "$root/boot/initrd.img"
	[ "${2:-}" = no-otad ] || install -m 755 "$otad" "$root/usr/sbin/otad"
	echo "$1 v$1${2:+-$2}" >"$root/etc/otad/version"
	echo "${2:-none}" >"$root/etc/fault"
	# U-Boot reads ext4 without these features.
	mkfs.ext4 -q -O ^metadata_csum,^64bit,^has_journal -m 0 -E root_owner=0:0 -d "$root" "$name.img" ${slot_mib}M >/dev/null
	[ "$1" = 1 ] || "$otactl" pack --key "$dir/keys/signer.key" --cert "$dir/keys/signer.pem" --model stv1 --version "$1" \
		--image "rootfs=$name.img" --compress zstd -o "$name.swu" >/dev/null
}
image 1
image 2
"$otactl" pack --key "$dir/keys/signer.key" --cert "$dir/keys/signer.pem" --model stv1 --version 2 \
	--image "rootfs=$out/2.img" --delta ./ -o "$out/2-delta.swu" >/dev/null
for fault in panic hang unhealthy no-otad; do image 3 $fault; done
[ "$arch" = armhf ] || image 3 hang-early

cat "$here/../uboot/environment.cmd" "$here/board.cmd" "$here/../uboot/boot.cmd" |
	sed "s/@BOOT@/$boot/; s/@WATCHDOG@/$watchdog_stage/g" >"$work/boot.cmd"
mkimage -A arm -T script -C none -n otad -d "$work/boot.cmd" "$work/boot.scr" >/dev/null
truncate -s 4M "$work/boot.fat"
mkfs.vfat -n BOOT "$work/boot.fat" >/dev/null
mcopy -i "$work/boot.fat" "$work/boot.scr" ::boot.scr

disk=$out/disk.img
rm -f "$disk" "$out/parts"
sgdisk=
at=1 number=0
for part in boot:4 env:1 slotA:$slot_mib slotB:$slot_mib data:64; do
	number=$((number + 1))
	size=${part#*:}
	sgdisk="$sgdisk -n $number:$((at * 2048)):+${size}M -c $number:${part%:*} -t $number:8300"
	echo "${part%:*} $((at * mib)) $((size * mib))" >>"$out/parts"
	at=$((at + size))
done
truncate -s $(((at + 1) * mib)) "$disk"
# shellcheck disable=SC2086 # a list of options
sgdisk -o $sgdisk -A 1:set:2 "$disk" >/dev/null
dd if="$work/boot.fat" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
printf 'slot=A\nupgrade_available=0\nbootcount=0\nbootlimit=3\notad_canary=factory\n' >"$work/env.txt"
mkenvimage -r -s 0x4000 -o "$work/env.bin" "$work/env.txt"
for copy in 0 1; do dd if="$work/env.bin" of="$disk" bs=16K seek=$((5 * 64 + copy)) conv=notrunc status=none; done

printf 'bootdelay=0\nbootcmd=virtio scan; load virtio 0:1 40200000 boot.scr; source 40200000\n' >"$work/flash.txt"
mkenvimage -s 0x40000 -o "$out/flash.img" "$work/flash.txt"
truncate -s 64M "$out/flash.img"
echo "$stamp" >"$out/stamp"
