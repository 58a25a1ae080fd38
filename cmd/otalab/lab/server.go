package lab

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"otad/ota"
	"otad/transport/download/downloadtest"
	"otad/transport/mqtt/mqtttest"
	"otad/transport/upgradelink/upgradelinktest"
)

// URLKey is the UpgradeLink application that carries the lab's firmware, and
// Prefix the first element of its MQTT topics.
const (
	URLKey = "lab-firmware"
	Prefix = "otad"
)

// Options say where a server listens and keeps its files.
type Options struct {
	Addr   string // HTTP; empty: a free loopback port
	Broker string // MQTT; empty: a free loopback port
	Dir    string // of published artifacts; it exists
	CA     []byte // that new boxes trust, PEM
}

// Server is all that a box talks to: UpgradeLink and firmware host on one
// HTTP port, and an MQTT broker on another.
type Server struct {
	URL    string // "http://127.0.0.1:1234"
	API    *upgradelinktest.Server
	Host   *downloadtest.Host
	Broker *mqtttest.Broker

	dir  string
	ca   []byte
	http *http.Server

	mu     sync.Mutex
	files  []*os.File // published; the host reads them until the end
	byCode map[string]*downloadtest.File
}

// Start starts the servers. The caller closes them.
func Start(o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot start the lab: %w", err)
	}
	broker, err := mqtttest.Start(mqtttest.Config{Addr: o.Broker})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s := &Server{
		URL:    "http://" + listener.Addr().String(),
		API:    upgradelinktest.New(upgradelinktest.Options{}),
		Host:   &downloadtest.Host{},
		Broker: broker,
		dir:    o.Dir,
		ca:     o.CA,
		byCode: map[string]*downloadtest.File{},
	}
	// An application without a version: boxes that ask early are told that
	// there is nothing for them, and not that nobody knows them.
	s.API.Edit(upgradelinktest.URL, URLKey, func(*upgradelinktest.App) {})
	s.API.Edit(upgradelinktest.Configuration, ConfigurationKey, func(*upgradelinktest.App) {})
	s.API.Edit(upgradelinktest.APK, PackageKey, func(*upgradelinktest.App) {})
	mux := http.NewServeMux()
	mux.Handle("/", s.API)
	mux.Handle("/fw/", s.Host)
	mux.HandleFunc("POST "+publishPath, s.servePublish)
	mux.HandleFunc("POST "+faultPath, s.serveFault)
	mux.HandleFunc("GET "+accessPath, s.serveAccess)
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go s.http.Serve(listener)
	return s, nil
}

// Close ends the servers and cuts their connections.
func (s *Server) Close() error {
	s.API.Close()
	err := errors.Join(s.http.Close(), s.Broker.Close())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Access is how boxes reach the server.
func (s *Server) Access() Access {
	return Access{
		URL: s.URL, AccessKey: upgradelinktest.DemoAccessKey, SecretKey: upgradelinktest.DemoSecretKey,
		URLKey: URLKey, Brokers: []string{s.Broker.URL()}, Prefix: Prefix,
	}
}

// Release is a version to publish.
type Release struct {
	Version ota.Version
	Type    ota.UpgradeType
	File    string // the artifact; it stays as it is while the server runs
	What    string // "" for the firmware, else configuration or package
}

// Publish offers a release to every box, and returns its file on the host.
func (s *Server) Publish(r Release) (*downloadtest.File, error) {
	content, err := downloadtest.Disk(r.File)
	if err != nil {
		return nil, fmt.Errorf("cannot publish version %d: %w", r.Version.Code, err)
	}
	s.keep(content)
	path := fmt.Sprintf("/fw/%d/%s", r.Version.Code, filepath.Base(r.File))
	file := s.Host.Add(path, content)
	s.mu.Lock()
	s.byCode[fmt.Sprint(r.Version.Code)] = file
	s.mu.Unlock()
	s.API.Publish(upgradelinktest.URL, URLKey,
		upgradelinktest.Version{Code: r.Version.Code, Name: r.Version.Name, URL: s.URL + path, SizeBytes: content.SizeBytes},
		upgradelinktest.Strategy{UpgradeType: int(r.Type)})
	return file, nil
}

// keep closes a published file at the end.
func (s *Server) keep(content downloadtest.Content) {
	if f, ok := content.ReaderAt.(*os.File); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.files = append(s.files, f)
	}
}
