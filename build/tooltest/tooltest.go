// Package tooltest finds the outside programs that tests hold otad against, and
// that build/install-test-tools.sh installs.
package tooltest

import (
	"os"
	"os/exec"
	"testing"
)

// Path returns where a program is, also beyond the PATH of those who are not
// root. Without it the test is skipped, but fails under CI.
func Path(t testing.TB, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	const missing = "%s is missing: build/install-test-tools.sh installs it"
	if os.Getenv("CI") != "" {
		t.Fatalf(missing, name)
	}
	t.Skipf(missing, name)
	return ""
}
