#!/bin/sh
# Makes the signed fixtures beside it with cpio and openssl alone, as a build
# without our tools would. The keys are thrown away; the certificates are good
# for a hundred years, and the tests judge them at a fixed time.
set -eu
cd "$(dirname "$0")"
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT

certificate() { # name subject extensions [key options…]
	name=$1 subject=$2 extensions=$3
	shift 3
	openssl genpkey -quiet -out "$keys/$name.key" "$@"
	printf '%s\n' "$extensions" >"$keys/ext"
	openssl req -new -key "$keys/$name.key" -subj "$subject" -out "$keys/csr"
	if [ "$name" = ca ]; then
		openssl x509 -req -in "$keys/csr" -signkey "$keys/ca.key" -days 36500 -extfile "$keys/ext" -out ca.pem
	else
		openssl x509 -req -in "$keys/csr" -CA ca.pem -CAkey "$keys/ca.key" -set_serial 0x$(openssl rand -hex 8) \
			-days 36500 -extfile "$keys/ext" -out "$keys/$name.pem"
	fi
}

sign() { # signer output [options…]
	signer=$1 out=$2
	shift 2
	openssl cms -sign -in sw-description -out "$out" -signer "$keys/$signer.pem" -inkey "$keys/$signer.key" \
		-outform DER -nosmimecap -binary "$@"
}

certificate ca "/CN=Fixture CA" "basicConstraints=critical,CA:TRUE" -algorithm EC -pkeyopt ec_paramgen_curve:P-256
certificate rsa "/O=otad/CN=Fixture RSA" "extendedKeyUsage=emailProtection" -algorithm RSA -pkeyopt rsa_keygen_bits:2048
certificate p384 "/O=otad/CN=Fixture P-384" "extendedKeyUsage=codeSigning" -algorithm EC -pkeyopt ec_paramgen_curve:P-384

printf 'fixture payload' >rootfs.img
cat >sw-description <<END
software =
{
	version = "1.0.0";
	hardware-compatibility: [ "1.0" ];
	images: ( { filename = "rootfs.img"; device = "/dev/mmcblk0p3"; type = "raw";
		sha256 = "$(sha256sum rootfs.img | cut -d' ' -f1)"; } );
}
END
sign rsa openssl-rsa.der
sign rsa openssl-rsa-pss.der -keyopt rsa_padding_mode:pss
sign p384 openssl-p384.der -md sha384
for format in crc newc; do
	cp openssl-rsa.der sw-description.sig
	for i in sw-description sw-description.sig rootfs.img; do echo $i; done | cpio -o -H $format >cpio-$format.swu
done
rm rootfs.img sw-description.sig
mv sw-description openssl.sw-description
