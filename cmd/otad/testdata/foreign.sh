#!/bin/sh
# Makes a signed .swu as a build without our code would: an ext4 image by
# mkfs.ext4, a signature by openssl, an archive by cpio.
#
# usage: foreign.sh TREE BYTES FORM COMPRESSION MODEL
#
# In the directory it is run in it leaves ca.pem, image.ext4 (BYTES long, with
# the files of the directory TREE) and foreign.swu. FORM is libconfig or json,
# COMPRESSION none, zlib or zstd.
set -eu
tree=$1 bytes=$2 form=$3 compression=$4 model=$5
PATH=$PATH:/usr/sbin:/sbin

mkfs.ext4 -q -d "$tree" -L foreign image.ext4 "$((bytes / 1024))"
case $compression in
none) payload=image.ext4 ;;
zlib) payload=image.ext4.gz && gzip -9 -n <image.ext4 >$payload ;;
zstd) payload=image.ext4.zst && zstd -q -10 image.ext4 -o $payload ;;
esac
sum=$(sha256sum $payload | cut -d' ' -f1)

compressed=
case $form in
libconfig)
	[ $compression = none ] || compressed="compressed = \"$compression\";"
	cat >sw-description <<-END
		software =
		{
			version = "2.0";
			description = "made by a shell script";
			$model = {
				hardware-compatibility: [ "1.0", "1.1" ];
				images: (
					{ /* the whole system */
						filename = "$payload";
						type = "raw";
						sha256 = "$sum";
						$compressed
					}
				);
			};
		}
	END
	;;
json)
	[ $compression = none ] || compressed="\"compressed\": \"$compression\","
	cat >sw-description <<-END
		{ "software": { "version": "2.0", "$model": {
			"hardware-compatibility": ["1.0"],
			"images": [ { "filename": "$payload", "type": "raw", $compressed "sha256": "$sum" } ]
		} } }
	END
	;;
esac

openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key
printf 'basicConstraints=critical,CA:TRUE\n' >ca.ext
openssl req -new -key ca.key -subj "/CN=Foreign CA" -out ca.csr
openssl x509 -req -in ca.csr -signkey ca.key -days 2 -extfile ca.ext -out ca.pem
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out signer.key
printf 'extendedKeyUsage=emailProtection\n' >signer.ext
openssl req -new -key signer.key -subj "/CN=Foreign signer" -out signer.csr
openssl x509 -req -in signer.csr -CA ca.pem -CAkey ca.key -set_serial 7 -days 2 -extfile signer.ext -out signer.pem
openssl cms -sign -in sw-description -out sw-description.sig -signer signer.pem -inkey signer.key \
	-outform DER -nosmimecap -binary

for file in sw-description sw-description.sig $payload; do echo $file; done |
	cpio -o -H crc >foreign.swu
