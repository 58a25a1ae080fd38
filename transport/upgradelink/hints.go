package upgradelink

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"otad/ota"
)

const (
	hintNetwork      = "check the network, the proxy and [server] url"
	hintNotTheServer = "something in between answered, such as a captive portal or a proxy, or [server] url is not an UpgradeLink server"
)

// unreachable classes a call that got no HTTP answer.
func unreachable(what string, err error) *ota.Fault {
	fault := ota.NewTransient(ota.CodeServerUnreachable, fmt.Errorf("cannot %s: %w", what, err))
	var (
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		dns       *net.DNSError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return fault
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fault.WithHint("the server's certificate is out of its time, or the clock of this box is wrong")
	case errors.As(err, &authority):
		return fault.WithHint("the server's certificate is signed by an authority that this box does not know: a missing CA, or somebody in between")
	case errors.As(err, &hostname):
		return fault.WithHint("the server's certificate is for another name; check [server] url")
	case errors.Is(err, http.ErrSchemeMismatch):
		return fault.WithHint("the server does not speak TLS at this port; check [server] url")
	case errors.As(err, &dns):
		return fault.WithHint("the server's name cannot be resolved; check DNS and [server] url")
	}
	return fault.WithHint(hintNetwork)
}

// fault401 classes code 401001, once its cause is known.
func fault401(said *APIError, cause cause401, dated bool) *ota.Fault {
	if cause == causeKey {
		return ota.NewRefused(ota.CodeAccessKey, said).
			WithHint("the access key is unknown or disabled; check [server] access_key")
	}
	if !dated {
		return ota.NewTransient(ota.CodeServerClock, said).
			WithHint("the clock of this box is wrong, and the server's answers carry no usable Date to correct it by; set the clock")
	}
	return ota.NewTransient(ota.CodeServerClock, said).
		WithHint("the server refuses the time of its own Date header: its clock and that of the proxy before it differ")
}
