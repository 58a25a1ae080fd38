#!/bin/bash
# artifacts.sh DIR OTACTL: packages the release v2 of DIR/fw for each installer,
# into DIR/art, which the web server publishes. What is there already is kept;
# otad's own are made anew when the packer is newer than they are.
#
# The names of the slots in the artifacts are $SLOTA and $SLOTB; the web server is
# at $URL.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

dir=$1
otactl=$2
fw=$dir/fw
art=$dir/art
keys=$dir/keys
model=stb-bench
mkdir -p "$art" "$keys"
cd "$art"

if [ ! -e "$keys/done" ]; then
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$keys/cms.key" -out "$keys/cms.crt" -days 3650 -subj '/CN=bench' \
		-addext extendedKeyUsage=emailProtection,codeSigning -addext keyUsage=digitalSignature 2>/dev/null
	openssl genrsa -traditional -out "$keys/mender.key" 3072 2>/dev/null
	openssl rsa -in "$keys/mender.key" -pubout -out "$keys/mender.pub" 2>/dev/null
	touch "$keys/done"
fi

# once FILE COMMAND…: makes FILE unless it is there; the command gets a temporary
# name as its last argument.
once() {
	local file=$1
	shift
	[ -e "$file" ] || { "$@" "$file.new" && mv "$file.new" "$file"; }
}

zstd_to() { zstd -q -T1 -12 "$1" -o "$2"; }

once v2.sqfs ln -f "$fw/v2.sqfs"
once v2.ext4 ln -f "$fw/v2.ext4"
once v2.ext4.zst zstd_to "$fw/v2.ext4"

# --- SWUpdate ---

# swu_of DESCRIPTION PAYLOAD NAME OUT: an archive of a signed description and one
# payload, as SWUpdate's documentation makes it.
swu_of() {
	local work
	work=$(mktemp -d -p "$dir")
	cp "$1" "$work/sw-description"
	ln "$2" "$work/$3" 2>/dev/null || cp "$2" "$work/$3"
	(
		cd "$work"
		openssl cms -sign -in sw-description -out sw-description.sig -signer "$keys/cms.crt" -inkey "$keys/cms.key" -outform DER -nosmimecap -binary
		printf '%s\n' sw-description sw-description.sig "$3" | cpio -o -L --quiet -H crc
	) >"$4"
	rm -rf "$work"
}

# describe IMAGE: a description with one image, given the words inside of it.
describe() {
	cat <<DESCRIPTION
software = {
  version = "2.0.0";
  hardware-compatibility: [ "1.0" ];
  images: ({ $1 });
  bootenv: ({ name = "rootpart"; value = "B"; });
}
DESCRIPTION
}

sha_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# swupdate PAYLOAD COMPRESSED OUT
swupdate_swu() {
	describe "filename = \"rootfs.img\"; type = \"raw\"; device = \"$SLOTB\"; sha256 = \"$(sha_of "$1")\"; installed-directly = true; ${2:+compressed = \"$2\";}" >"$dir/description"
	swu_of "$dir/description" "$1" rootfs.img "$3"
}

# swupdate_delta NAME OUT: only the header of the zchunk file is in the archive.
swupdate_delta() {
	local bytes
	bytes=$(zck_read_header -v "$1.zck" 2>/dev/null | awk -F: '/Header size/ { print $2 + 0 }')
	head -c "$bytes" "$1.zck" >"$dir/zckheader"
	describe "filename = \"rootfs.zckheader\"; type = \"delta\"; device = \"$SLOTB\"; sha256 = \"$(sha_of "$dir/zckheader")\";
	  properties: { url = \"$URL/$1.zck\"; chain = \"raw\"; source = \"$SLOTA\"; zckloglevel = \"error\"; };" >"$dir/description"
	swu_of "$dir/description" "$dir/zckheader" rootfs.zckheader "$2"
}

zck_of() { zck -u -h sha256 "$1" -o "$2"; }

once sqfs.swu swupdate_swu v2.sqfs ''
once ext4.swu swupdate_swu v2.ext4 ''
once ext4-zstd.swu swupdate_swu v2.ext4.zst zstd
for kind in sqfs ext4; do
	once v2.$kind.zck zck_of v2.$kind
	once $kind-delta.swu swupdate_delta v2.$kind
done

# --- RAUC: the plain format, since dm-verity is not in every kernel ---

# raucb PAYLOAD MKSQUASHFS-ARGUMENTS OUT
raucb() {
	local work
	work=$(mktemp -d -p "$dir")
	mkdir "$work/content"
	ln "$1" "$work/content/rootfs.img" 2>/dev/null || cp "$1" "$work/content/rootfs.img"
	printf '%s\n' '[update]' "compatible=$model" version=2.0.0 '[bundle]' format=plain '[image.rootfs]' filename=rootfs.img >"$work/content/manifest.raucm"
	rauc --cert "$keys/cms.crt" --key "$keys/cms.key" --keyring "$keys/cms.crt" bundle ${2:+--mksquashfs-args="$2"} "$work/content" "$work/out.raucb" >"$dir/rauc-bundle.log" 2>&1
	mv "$work/out.raucb" "$3"
	rm -rf "$work"
}

once sqfs.raucb raucb v2.sqfs ''
once ext4-zstd.raucb raucb v2.ext4 '-comp zstd -Xcompression-level 12'

# --- Mender ---

# mender_of PAYLOAD COMPRESSION OUT
mender_of() {
	mender-artifact write rootfs-image -t $model -n rel-2 -f "$1" --compression "$2" -k "$keys/mender.key" --no-progress -o "$dir/out.mender" >/dev/null
	mv "$dir/out.mender" "$3"
}

once sqfs.mender mender_of v2.sqfs none
once ext4.mender mender_of v2.ext4 none
once ext4-gzip.mender mender_of v2.ext4 gzip

# --- otad ---

# pack OUT ARGUMENT…
pack() {
	local out=$1
	shift
	[ "$out" -nt "$otactl" ] ||
		"$otactl" pack --key "$keys/cms.key" --cert "$keys/cms.crt" --model $model --version 2.0.0 "$@" -o "$out"
}

pack otad-sqfs.swu --compress none --image rootfs="$fw/v2.sqfs"
pack otad-ext4.swu --compress none --image rootfs="$fw/v2.ext4"
pack otad-ext4-zstd.swu --compress zstd --image rootfs="$fw/v2.ext4"
for release in v1m v2; do
	pack otad-$release-sqfs-delta.swu --delta ./ --image rootfs="$fw/$release.sqfs"
done
pack otad-v2-ext4-delta.swu --delta ./ --image rootfs="$fw/v2.ext4"
