package mqtttest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"otad/build/tooltest"
)

// NATS is a cluster of nats-server processes on loopback, with JetStream and
// MQTT: sessions and retained messages are in every node.
type NATS struct {
	program string
	dir     string
	nodes   []*natsNode
}

type natsNode struct {
	name             string
	mqtt, cluster    string // host:port
	monitor          string // likewise, of its HTTP server
	cmd              *exec.Cmd
	exited           chan struct{}
	log              lockedBuffer
	config, database string
}

// NewNATS starts a cluster for the time of a test. Where nats-server is not
// installed the test is skipped, but fails under CI.
func NewNATS(tb testing.TB, nodes int) *NATS {
	tb.Helper()
	n := &NATS{program: tooltest.Path(tb, "nats-server"), dir: tb.TempDir()}
	tb.Cleanup(func() {
		for i := range n.nodes {
			n.Kill(i)
			if tb.Failed() {
				log := n.nodes[i].log.String()
				tb.Logf("node %d said:\n%s", i, log[max(0, len(log)-4<<10):])
			}
		}
	})
	if err := n.start(nodes); err != nil {
		tb.Fatalf("cannot start a NATS cluster: %v", err)
	}
	return n
}

func (n *NATS) start(nodes int) error {
	var routes []string
	for i := range nodes {
		node := &natsNode{name: fmt.Sprintf("node%d", i)}
		for _, addr := range []*string{&node.mqtt, &node.cluster, &node.monitor} {
			var err error
			if *addr, err = freeAddr(); err != nil {
				return err
			}
		}
		routes = append(routes, "nats://"+node.cluster)
		n.nodes = append(n.nodes, node)
	}
	for i, node := range n.nodes {
		host, port, err := net.SplitHostPort(node.mqtt)
		if err != nil {
			return err
		}
		node.config, node.database = filepath.Join(n.dir, node.name+".conf"), filepath.Join(n.dir, node.name)
		text := fmt.Sprintf(`server_name: %s
listen: "127.0.0.1:-1"
http: %q
jetstream { store_dir: %q, max_mem: 64MB, max_file: 256MB }
mqtt { host: %q, port: %s }
cluster { name: otad, listen: %q, routes: [%s] }
`, node.name, node.monitor, node.database, host, port, node.cluster, strings.Join(routes, ", "))
		if err := os.WriteFile(node.config, []byte(text), 0o600); err != nil {
			return err
		}
		if err := n.Start(i); err != nil {
			return err
		}
	}
	return nil
}

// URLs are those of the nodes, in order.
func (n *NATS) URLs() []string {
	var list []string
	for _, node := range n.nodes {
		list = append(list, "tcp://"+node.mqtt)
	}
	return list
}

// Start starts a node, with what it had stored. The cluster takes a while to
// take it in.
func (n *NATS) Start(i int) error {
	node := n.nodes[i]
	cmd := exec.Command(n.program, "-c", node.config)
	cmd.Stdout, cmd.Stderr = &node.log, &node.log
	exited, err := launch(cmd, node.mqtt)
	if exited != nil {
		node.cmd, node.exited = cmd, exited
	}
	if err != nil {
		return fmt.Errorf("%s: %w; it said: %s", node.name, err, node.log.String())
	}
	return nil
}

// Healed tells whether every node runs and has caught up with all sessions and
// messages. Only then does the cluster survive the next dead node.
func (n *NATS) Healed() bool {
	for _, node := range n.nodes {
		resp, err := http.Get("http://" + node.monitor + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false
		}
	}
	return true
}

// Kill ends a node with SIGKILL.
func (n *NATS) Kill(i int) {
	if node := n.nodes[i]; node.cmd != nil {
		_ = node.cmd.Process.Kill() // an error says that it is gone already
		<-node.exited
		node.cmd = nil
	}
}
