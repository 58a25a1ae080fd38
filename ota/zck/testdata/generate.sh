#!/bin/sh
# Makes the fixtures with Debian's zck 1.2.3. The image is text that a seed
# makes, so that the fixtures stay small: see fixtureImage.
set -eu
cd "$(dirname "$0")"
go test -run TestFixtures .. -args -write-image "$PWD/image.tmp"
zck -u -h sha256 -o swupdate.zck image.tmp
zck -u -h sha512_128 -o sha512_128.zck image.tmp
zck -u -h sha512 --compression-format=none -o plain.zck image.tmp
zck -h sha256 --compression-format=none -o none.zck image.tmp
zck -h sha256 -o no-plain-digests.zck image.tmp
head -c 4096 image.tmp > dict.tmp
zck -u -h sha256 -D dict.tmp -o dictionary.zck image.tmp
# Only the headers are needed, but for one.
for f in sha512_128 plain none no-plain-digests dictionary; do
	size=$(zck_read_header -v $f.zck | sed -n 's/^Header size: //p')
	head -c "$size" $f.zck > $f.header
	rm $f.zck
done
rm image.tmp dict.tmp
