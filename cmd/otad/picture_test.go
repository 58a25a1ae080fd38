package main_test

import (
	"encoding/xml"
	"flag"
	"os"
	"strings"
	"testing"

	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport/console/consoletest"
)

// pictureFile is shown in the README. `go test ./cmd/otad -run Picture -update`
// draws it anew.
const pictureFile = "../../docs/console.svg"

// An update by hand at the console, drawn from what the terminal showed.
func TestPictureOfARun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newCable(t, &consoletest.Line{})
	b := newBox(t, s, c.served, quiet)
	file := s.release(t, system{code: 2})
	file.Set(trickle)
	service := b.start()
	person := newPerson(t, c.near.Path)
	person.says("otad> ", "status")
	person.says("otad> ", "upgrade --wait")
	person.says("[y/N] ", "y")
	person.says("downloading [########", "\x03")
	person.says("`cancel` stops it", "")
	person.says("otad> ", "status")
	person.says("phase ", "")
	file.Set(noFaults)
	service.wait().want(cli.RebootNeeded)
	b.boot()
	_, service = b.live(ended(2))
	person.says("otad console", "")
	person.says("otad> ", "history")
	person.says("confirmed", "")
	service.stop()
	screen := consoletest.NewScreen(80, 60)
	_, err := screen.Write([]byte(strings.TrimLeft(person.text(), "\r\n")))
	must(t, err)
	text := strings.Join(screen.Lines(), "\n")
	for _, want := range []string{"otad> upgrade --wait", "install what it offers? [y/N] y", "downloading [########", "the update goes on; `cancel` stops it", string(ota.PhaseConfirmed)} {
		if !strings.Contains(text, want) {
			t.Errorf("the terminal lacks %q:\n%s", want, text)
		}
	}
	picture := screen.SVG("An update by hand at the serial console")
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		must(t, os.WriteFile(pictureFile, []byte(picture), 0o644))
	}
	kept, err := os.ReadFile(pictureFile)
	must(t, err)
	for name, drawing := range map[string][]byte{"drawn now": []byte(picture), pictureFile: kept} {
		if err := xml.Unmarshal(drawing, new(struct{})); err != nil || !strings.Contains(string(drawing), "upgrade --wait") {
			t.Errorf("the picture %s is no picture of it: %v", name, err)
		}
	}
	t.Logf("the terminal shows:\n%s", text)
}
