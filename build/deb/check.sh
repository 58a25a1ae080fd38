#!/bin/sh
# Installs the amd64 package into a clean Debian made by debootstrap and looks
# at it as its user would: the program runs, systemd finds the unit right and
# says how exposed it is, removal leaves the settings. check.sh OTAD.deb
# Needs root and debootstrap; the system goes away at the end.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OTAD.deb" >&2; exit 64; }
[ "$(id -u)" = 0 ] || { echo "check: needs root, for debootstrap" >&2; exit 1; }
package=$(realpath "$1")
work=$(mktemp -d)
root=$work/debian
trap 'rm -rf "$work"' EXIT
: "${SUITE:=bookworm}" "${MAX_EXPOSURE:=4.0}"

# The mirror that this machine uses itself.
# shellcheck disable=SC2016 # the name is apt's
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $SUITE" 2>/dev/null | head -n 1)
debootstrap --variant=minbase --include=systemd "$SUITE" "$root" ${mirror:+"$mirror"} >"$work/log" 2>&1 ||
	{ tail "$work/log" >&2; echo "check: debootstrap failed" >&2; exit 1; }

within() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }
step() { echo "check: $*"; }

cp "$package" "$root/otad.deb"
within dpkg -i /otad.deb >/dev/null
step "installed: $(within otad version)"
within systemctl is-enabled otad.service | grep -qx enabled
step "the service is enabled"
test -z "$(within dpkg --verify otad)"
step "all files are as packed"

# Without settings the unit does not start, with them otad reads them.
cp "$root/usr/share/doc/otad/examples/otad.toml" "$root/etc/otad/otad.toml"
within otad config show >/dev/null
step "the example settings are read"

within systemd-analyze verify /lib/systemd/system/otad.service
step "systemd-analyze verify: nothing to say"
exposure=$(within systemd-analyze security --offline=true --no-pager /lib/systemd/system/otad.service |
	sed -n 's/.*Overall exposure level[^:]*: \([0-9.]*\).*/\1/p')
step "systemd-analyze security: exposure $exposure (at most $MAX_EXPOSURE)"
awk -v a="$exposure" -v b="$MAX_EXPOSURE" 'BEGIN { exit !(a != "" && a + 0 <= b + 0) }'

within dpkg -r otad >/dev/null
test ! -e "$root/usr/bin/otad"
test -e "$root/etc/otad/otad.toml"
step "removed; the settings stay"
