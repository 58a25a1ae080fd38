#!/bin/sh
# Makes a Debian package of an otad binary: build.sh ARCH BINARY VERSION OUT.deb
# The same input makes the same bytes: times come from SOURCE_DATE_EPOCH.
set -eu
[ $# -eq 4 ] || { echo "usage: $0 amd64|arm64|armhf BINARY VERSION OUT.deb" >&2; exit 64; }
arch=$1 binary=$2 version=$3 out=$4
tree=$(cd "$(dirname "$0")/../.." && pwd)
: "${SOURCE_DATE_EPOCH:=$(git -C "$tree" log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
doc=$root/usr/share/doc/otad
install -D -m 755 "$binary" "$root/usr/bin/otad"
install -D -m 644 "$tree/build/systemd/otad.service" "$root/lib/systemd/system/otad.service"
install -D -m 755 "$tree/build/init/S80otad" "$doc/examples/S80otad"
install -D -m 755 "$tree/build/usb/otad-usb" "$root/usr/lib/otad/otad-usb"
install -D -m 644 "$tree/build/usb/90-otad-usb.rules" "$doc/examples/90-otad-usb.rules"
install -D -m 644 "$tree/build/otad.toml" "$doc/examples/otad.toml"
install -d "$root/etc/otad/trust" "$root/etc/otad/health.d"
cp -r "$tree/README.md" "$tree/docs" "$doc/"
find "$doc" -type d -exec chmod 755 {} + -o -type f ! -name S80otad -exec chmod 644 {} +
{
	echo "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
	echo "Upstream-Name: otad"
	echo
	echo "Files: *"
	echo "Copyright: the otad authors"
	echo "License: Apache-2.0"
	echo " On Debian systems the text is in /usr/share/common-licenses/Apache-2.0."
} >"$doc/copyright"
printf 'otad (%s) unstable; urgency=medium\n\n  * See the commits.\n\n -- The otad authors <otad@localhost>  %s\n' \
	"$version" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"

install -d "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: otad
Version: $version
Architecture: $arch
Maintainer: The otad authors <otad@localhost>
Installed-Size: $(du -ks --exclude=DEBIAN "$root" | cut -f1)
Section: admin
Priority: optional
Description: over-the-air update agent for set-top boxes
 Keeps a box's firmware up to date from an UpgradeLink server: signed SWUpdate
 artifacts into A/B slots, a trial of each new system, and the way back to the
 old one. One static binary. The service starts once /etc/otad/otad.toml is
 there; an example is in /usr/share/doc/otad/examples.
CONTROL
# What debhelper writes for a service, without a need for its helpers.
cat >"$root/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
if [ "$1" = configure ] && command -v systemctl >/dev/null; then
	[ -n "$2" ] || systemctl enable --quiet otad.service || :
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload
		systemctl restart otad.service || :
	fi
fi
POSTINST
cat >"$root/DEBIAN/prerm" <<'PRERM'
#!/bin/sh
set -e
if [ "$1" = remove ] && command -v systemctl >/dev/null; then
	[ ! -d /run/systemd/system ] || systemctl stop otad.service || :
	systemctl disable --quiet otad.service || :
fi
PRERM
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
mkdir -p "$(dirname "$out")"
dpkg-deb --root-owner-group -Zxz --build "$root" "$out" >/dev/null
echo "$out $(wc -c <"$out") bytes"
