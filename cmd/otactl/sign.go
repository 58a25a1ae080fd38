package main

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"os"

	"otad/cmd/internal/cli"
	"otad/ota/swu"
)

func signCommand() cli.Command {
	return cli.Command{
		Name:    "sign",
		Args:    "{--key K --cert C | [--cert C] --to-sign FILE | [--cert C] --signature FILE} FILE.swu [-o OUT.swu]",
		Summary: "sign an artifact, also with a key that is elsewhere", Run: sign,
	}
}

// signOptions is the command line of sign. With a key it signs at once. Without
// one it works in two steps: it writes what is to be signed, and takes the
// signature back. With a certificate that is the few bytes that an HSM signs;
// without one it is the description, and the signature a whole CMS message, as
// openssl makes it.
type signOptions struct {
	key, cert, toSign, signature, out string
}

func sign(_ context.Context, env cli.Env, args []string) error {
	o := signOptions{}
	flags := cli.Flags("sign")
	flags.StringVar(&o.key, "key", "", "PEM private key of the signer")
	flags.StringVar(&o.cert, "cert", "", "PEM certificate of the signer, intermediates behind it")
	flags.StringVar(&o.toSign, "to-sign", "", "first step with a key elsewhere: write what it has to sign to this file")
	flags.StringVar(&o.signature, "signature", "", "second step: the file with what it answered")
	flags.StringVar(&o.out, "o", "", "the artifact to write")
	operands, err := cli.Parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	f, a, err := openArtifact(operands[0])
	if err != nil {
		return err
	}
	defer f.Close()
	if o.toSign != "" {
		return o.writeToSign(env, a)
	}
	signature, by, err := o.makeSignature(a)
	if err != nil {
		return fault(err)
	}
	m := newMeter(env.Stderr, "writing", fileBytes(f))
	err = writeWhole(o.out, func(w io.Writer) error { return swu.Attach(io.MultiWriter(w, m), a, signature) })
	m.clear()
	if err != nil {
		return fault(err)
	}
	fmt.Fprintf(env.Stdout, "%s: signed by %s\n", o.out, by)
	return nil
}

func (o signOptions) check() error {
	ways := 0
	for _, way := range []string{o.key, o.toSign, o.signature} {
		if way != "" {
			ways++
		}
	}
	switch {
	case ways != 1:
		return cli.Usagef("one of --key, --to-sign and --signature is needed")
	case o.key != "" && o.cert == "":
		return cli.Usagef("--cert is missing")
	case (o.toSign == "") == (o.out == ""):
		return cli.Usagef("-o is for the signed artifact: needed but with --to-sign")
	}
	return nil
}

func (o signOptions) writeToSign(env cli.Env, a *swu.Archive) error {
	description, _ := a.DescriptionUnverified()
	text, how := description, "openssl cms -sign -binary -nosmimecap -outform DER -in %s -signer CERT.pem -inkey KEY"
	if o.cert != "" {
		signer, err := o.signer()
		if err != nil {
			return err
		}
		var hash crypto.Hash
		if text, hash, err = signer.ToSign(description); err != nil {
			return err
		}
		digest := map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384"}[hash]
		how = "openssl dgst -" + digest + " -sign KEY %s"
	}
	if err := os.WriteFile(o.toSign, text, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s: %d bytes to sign\n", o.toSign, len(text))
	fmt.Fprintf(env.Stderr, "sign it where the key is, such as with `"+how+"`, then run otactl sign --signature\n", o.toSign)
	return nil
}

// makeSignature signs, or puts together what was signed elsewhere.
func (o signOptions) makeSignature(a *swu.Archive) (signature []byte, by string, err error) {
	description, _ := a.DescriptionUnverified()
	if o.cert == "" {
		if signature, err = os.ReadFile(o.signature); err != nil {
			return nil, "", err
		}
		by = "a bare key"
		for _, c := range swu.SignersUnverified(signature) {
			by = fmt.Sprintf("%q (not verified: see `otactl verify`)", c.Subject.CommonName)
		}
		return signature, by, nil
	}
	signer, err := o.signer()
	if err != nil {
		return nil, "", err
	}
	by = fmt.Sprintf("%q", signer.Certificate.Subject.CommonName)
	if o.key != "" {
		signature, err = signer.Sign(description)
		return signature, by, err
	}
	answer, err := os.ReadFile(o.signature)
	if err != nil {
		return nil, "", err
	}
	signature, err = signer.Assemble(description, answer)
	return signature, by, err
}

// signer loads the certificate, and the key if it is here.
func (o signOptions) signer() (swu.Signer, error) {
	if o.key != "" {
		return loadSigner(o.key, o.cert)
	}
	certificates, err := loadCertificates(o.cert)
	if err != nil {
		return swu.Signer{}, fmt.Errorf("cannot read certificate %q: %w", o.cert, err)
	}
	return swu.Signer{Certificate: certificates[0], Intermediates: certificates[1:]}, nil
}
