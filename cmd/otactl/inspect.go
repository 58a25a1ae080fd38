package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"otad/cmd/internal/cli"
	"otad/ota/swu"
)

func inspectCommand() cli.Command {
	return cli.Command{
		Name: "inspect", Args: "[--json] [--running IMAGE] FILE.swu",
		Summary: "show what is in an artifact; checks nothing", Run: inspect,
	}
}

// The JSON of inspect. Fields are only ever added.
type (
	contents struct {
		File    string            `json:"file"`
		Size    int64             `json:"size"`
		Header  map[string]string `json:"header"`
		Signers []contentsSigner  `json:"signers"` // as the signature says; not verified
		Signed  bool              `json:"signed"`
		Items   []contentsItem    `json:"items"`
		Entries []contentsEntry   `json:"entries"`
		Deltas  []contentsDelta   `json:"deltas,omitempty"`
	}
	contentsSigner struct {
		Name      string    `json:"name"`
		Issuer    string    `json:"issuer"`
		NotBefore time.Time `json:"not_before"`
		NotAfter  time.Time `json:"not_after"`
		Key       string    `json:"key"`
	}
	contentsItem struct {
		Path   string            `json:"path"`
		Kind   string            `json:"kind"`
		Line   int               `json:"line"`
		Fields map[string]string `json:"fields"`
	}
	contentsEntry struct {
		Name string `json:"name"`
		Size int64  `json:"size"`
	}
)

func inspect(_ context.Context, env cli.Env, args []string) error {
	flags := cli.Flags("inspect")
	asJSON := flags.Bool("json", false, "print JSON")
	running := flags.String("running", "", "an image that boxes run: say what a delta would fetch for them")
	operands, err := cli.Parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	f, a, err := openArtifact(operands[0])
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := readContents(f, a)
	if err != nil {
		return err
	}
	if err := r.readDeltas(a, *running); err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	r.print(env.Stdout)
	return nil
}

func readContents(f *os.File, a *swu.Archive) (*contents, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text, signature := a.DescriptionUnverified()
	d, err := swu.ParseDescription(text)
	if err != nil {
		return nil, fault(err)
	}
	r := &contents{
		File: f.Name(), Size: info.Size(), Header: d.Header(), Signed: signature != nil,
		Signers: []contentsSigner{}, Items: []contentsItem{},
	}
	for _, c := range swu.SignersUnverified(signature) {
		r.Signers = append(r.Signers, contentsSigner{
			Name: c.Subject.CommonName, Issuer: c.Issuer.CommonName,
			NotBefore: c.NotBefore, NotAfter: c.NotAfter, Key: c.PublicKeyAlgorithm.String(),
		})
	}
	for _, i := range d.Contents() {
		r.Items = append(r.Items, contentsItem(i))
	}
	for _, e := range a.Entries() {
		r.Entries = append(r.Entries, contentsEntry{e.Name, e.SizeBytes})
	}
	return r, nil
}

// print writes the contents for a person. Texts come from an unverified file:
// they are quoted where they could hold anything.
func (r *contents) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(tw, "file\t%s, %s\n", r.File, cli.SizeText(r.Size))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(tw, "%s\t%s\n", name, safe(r.Header[name]))
	}
	switch {
	case !r.Signed:
		fmt.Fprintf(tw, "signature\tnone\n")
	case len(r.Signers) == 0:
		fmt.Fprintf(tw, "signature\tnot CMS: a bare RSA signature, or damaged\n")
	}
	for _, s := range r.Signers {
		fmt.Fprintf(tw, "signature\t%s %s, issued by %s, %s to %s (not verified: see `otactl verify`)\n", s.Key, safe(s.Name),
			safe(s.Issuer), s.NotBefore.Format(time.DateOnly), s.NotAfter.Format(time.DateOnly))
	}
	tw.Flush()
	fmt.Fprint(w, "\nwhat goes where\n")
	tw = tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprint(tw, "  FOR\tKIND\tFILE\tTARGET\tTYPE\tCOMPRESSED\tSHA256\n")
	for _, i := range r.Items {
		f := i.Fields
		file := cmp.Or(f["filename"], f["name"], f["ref"])
		target := cmp.Or(f["device"], f["volume"], f["path"], f["value"])
		if f["device"] != "" && f["path"] != "" {
			target = f["device"] + ":" + f["path"]
		}
		hash := f["sha256"]
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", dash(i.Path), i.Kind, dash(file), dash(target),
			dash(f["type"]), dash(f["compressed"]), dash(hash[:min(12, len(hash))]))
	}
	tw.Flush()
	for _, d := range r.Deltas {
		d.print(w)
	}
	fmt.Fprint(w, "\nentries\n")
	tw = tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	for _, e := range r.Entries {
		fmt.Fprintf(tw, "  %s\t%s\n", cli.SizeText(e.Size), "  "+safe(e.Name))
	}
	tw.Flush()
}

func dash(s string) string { return cmp.Or(safe(s), "-") }

// safe keeps control characters off the terminal.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
