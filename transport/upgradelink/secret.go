package upgradelink

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"

	"otad/ota"
)

// Secret is the secret key of an access key. However it is printed, logged or
// encoded, it shows as "[secret]"; only a conversion to string reveals it.
type Secret string

const hidden = "[secret]"

// String hides the secret.
func (Secret) String() string { return hidden }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return hidden }

// Format hides the secret from every verb, also from wrong ones like %d.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalText hides the secret from JSON, TOML and their like.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON hides the secret from JSON.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// maxSecretBytes is far above any key the server makes.
const maxSecretBytes = 4096

// ReadSecret reads a secret key from a file. Space around it, such as the
// newline that editors add, does not belong to it.
func ReadSecret(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", secretFault(path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", secretFault(path, err)
	}
	if len(text) > maxSecretBytes {
		return "", secretFault(path, fmt.Errorf("longer than %d bytes", maxSecretBytes))
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return "", secretFault(path, fmt.Errorf("the file is empty"))
	}
	return Secret(text), nil
}

func secretFault(path string, err error) error {
	return ota.NewRefused(ota.CodeConfig, fmt.Errorf("cannot read secret key %q: %w", path, err)).
		WithHint("[server] secret_key_file names a file with the secret key of the access key and nothing else")
}
