#!/bin/sh
# fetch.sh DIR ARCH...: unpacks what the virtual box is made of, a kernel with its
# modules and busybox, from Debian's packages for ARCH (arm64, armhf) into
# DIR/debian/ARCH. Needs apt and its key ring, not root; the host's own list of
# architectures stays as it is.
set -eu
PATH=$PATH:/usr/sbin:/sbin

dir=$1
shift
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# The mirror is the host's own. Main only: security updates of the kernel are in
# its point releases, and one archive cannot contradict itself.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $suite" | head -n 1)
[ -n "$mirror" ] || mirror=http://deb.debian.org/debian

for arch in "$@"; do
	case $arch in
	arm64) kernel=linux-image-arm64 ;;
	armhf) kernel=linux-image-armmp-lpae ;;
	*) echo "fetch.sh: no kernel is known for $arch" >&2; exit 64 ;;
	esac
	out=$dir/debian/$arch
	[ ! -e "$out/done" ] || continue
	rm -rf "$out"
	state=$(mkdir -p "$out/apt" && cd "$out/apt" && pwd)
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$out/root"
	: >"$state/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$state/sources.list"
	options="-o APT::Architecture=$arch -o APT::Architectures=$arch -o Dir::State=$state -o Dir::State::status=$state/status
		-o Dir::Cache=$state/cache -o Dir::Etc::sourcelist=$state/sources.list -o Dir::Etc::sourceparts=/dev/null -o Acquire::Languages=none"
	[ "$(id -u)" != 0 ] || options="$options -o APT::Sandbox::User=root"
	# shellcheck disable=SC2086 # a list of words
	{
		apt-get $options -qq update
		image=$(apt-cache $options depends "$kernel" | awk '/Depends: linux-image/ { print $2; exit }')
		(cd "$out" && apt-get $options -qq download busybox-static "$image")
	}
	for package in "$out"/*.deb; do
		dpkg -x "$package" "$out/root"
		rm "$package"
	done
	rm -rf "$out/apt"
	depmod -b "$out/root" "$(ls "$out/root/lib/modules")"
	touch "$out/done"
done
