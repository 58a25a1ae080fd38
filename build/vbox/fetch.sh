#!/bin/sh
# fetch.sh DIR ARCH...: unpacks what the virtual box is made of, a kernel with its
# modules and busybox, from Debian's packages for ARCH (arm64, armhf) into
# DIR/debian/ARCH. Needs apt and its key ring, not root; the host's own list of
# architectures stays as it is. apt verifies what it fetches. The packages are kept
# in $OTAD_CACHE (~/.cache/otad) with their sums, so that the next time needs no
# network; remove that directory for newer ones.
set -eu
PATH=$PATH:/usr/sbin:/sbin

dir=$1
shift
cache=${OTAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/otad}
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# The mirror is the host's own. Main only: security updates of the kernel are in
# its point releases, and one archive cannot contradict itself.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $suite" | head -n 1)
[ -n "$mirror" ] || mirror=http://deb.debian.org/debian

# kept DIR: the packages there are whole.
kept() {
	[ -e "$1/SHA256SUMS" ] || return 1
	(cd "$1" && sha256sum --check --quiet SHA256SUMS) && return 0
	echo "fetch.sh: $1 is damaged, its packages are fetched again" >&2
	return 1
}

# fetch ARCH KERNEL DIR: brings the packages to DIR, with their sums.
fetch() {
	state=$(mktemp -d)
	new=$3.new
	rm -rf "$new" "$3"
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$new"
	: >"$state/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$state/sources.list"
	options="-o APT::Architecture=$1 -o APT::Architectures=$1 -o Dir::State=$state -o Dir::State::status=$state/status
		-o Dir::Cache=$state/cache -o Dir::Etc::sourcelist=$state/sources.list -o Dir::Etc::sourceparts=/dev/null
		-o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Update::Error-Mode=any"
	[ "$(id -u)" != 0 ] || options="$options -o APT::Sandbox::User=root"
	# shellcheck disable=SC2086 # a list of words
	if apt-get $options -qq update &&
		image=$(apt-cache $options depends "$2" | awk '/Depends: linux-image/ { print $2; exit }') && [ -n "$image" ] &&
		(cd "$new" && apt-get $options -qq download busybox-static "$image" && sha256sum ./*.deb >SHA256SUMS); then
		rm -rf "$state"
		mv "$new" "$3"
		return
	fi
	rm -rf "$state" "$new"
	echo "fetch.sh: cannot fetch Debian's packages for $1 ($2, busybox-static) from $mirror" >&2
	echo "hint: this needs the network once; from then on they are in $3" >&2
	exit 1
}

for arch in "$@"; do
	case $arch in
	arm64) kernel=linux-image-arm64 ;;
	armhf) kernel=linux-image-armmp-lpae ;;
	*) echo "fetch.sh: no kernel is known for $arch" >&2; exit 64 ;;
	esac
	out=$dir/debian/$arch
	[ ! -e "$out/done" ] || continue
	rm -rf "$out"
	mkdir -p "$out/root"
	packages=$cache/debian-$suite-$arch
	kept "$packages" || fetch "$arch" "$kernel" "$packages"
	for package in "$packages"/*.deb; do dpkg -x "$package" "$out/root"; done
	depmod -b "$out/root" "$(ls "$out/root/lib/modules")"
	touch "$out/done"
done
