#!/bin/sh
# footprint.sh DIR PAGE: writes how large the programs otad-linux-* in DIR are into
# PAGE, between its markers.
set -eu

dir=$1
page=$2
{
	sed '/<!-- sizes -->/q' "$page"
	printf '\nBuilt by `make footprint`, %s, with %s.\n\n| program | bytes | MiB |\n|---|---:|---:|\n' "$(date -u +%F)" "$(go env GOVERSION)"
	for program in "$dir"/otad-linux-*; do
		case $program in *.json) continue ;; esac
		wc -c <"$program" | awk -v name="${program##*/otad-}" '{ printf "| %s | %d | %.2f |\n", name, $1, $1 / 1048576 }'
	done
	echo
	sed -n '/<!-- end of sizes -->/,$p' "$page"
} >"$page.new"
mv "$page.new" "$page"
