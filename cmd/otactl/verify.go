package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"otad/cmd/internal/cli"
	"otad/ota/swu"
)

func verifyCommand() cli.Command {
	return cli.Command{
		Name: "verify", Args: "--trust CA.pem [--trust MORE.pem]... [--purpose emailProtection|codeSigning] FILE.swu",
		Summary: "check signature and every payload; exit 12 when not trusted", Run: verify,
	}
}

func verify(ctx context.Context, env cli.Env, args []string) error {
	var bundles list
	flags := cli.Flags("verify")
	flags.Var(&bundles, "trust", "PEM bundle of trusted certificates, CRLs and RSA public keys; repeat for more")
	purpose := flags.String("purpose", "", "what the signer's certificate must be for: emailProtection or codeSigning; without it, either")
	operands, err := cli.Parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	if len(bundles) == 0 {
		return cli.Usagef("--trust is missing")
	}
	trust, err := loadTrust(bundles)
	if err != nil {
		return err
	}
	if trust, err = trust.For(*purpose); err != nil {
		return cli.Usagef("%v", err)
	}
	f, a, err := openArtifact(operands[0])
	if err != nil {
		return err
	}
	defer f.Close()
	d, signer, err := a.Description(trust, time.Now())
	if err != nil {
		return fault(err)
	}
	m := newMeter(env.Stderr, "verifying", 0)
	err = d.VerifyAll(ctx, a, func(done, total int64) {
		m.total = total
		m.set(done)
	})
	m.clear()
	if err != nil {
		return fault(err)
	}
	if err := verifyDeltas(f, a); err != nil {
		return err
	}
	who := "a trusted public key"
	if signer != nil {
		who = fmt.Sprintf("%q", signer.Subject.CommonName)
	}
	fmt.Fprintf(env.Stdout, "%s: good, version %s, signed by %s\n", operands[0], d.Header()["version"], who)
	return nil
}

func loadTrust(bundles []string) (*swu.Trust, error) {
	var texts [][]byte
	for _, name := range bundles {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts = append(texts, b)
	}
	return swu.ParseTrust(texts...)
}
