package mqtttest

import (
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// users lets clients into the in-process broker by name and password, or
// everybody when there are none. Whoever is in may do everything.
type users struct {
	mochi.HookBase
	passwords map[string]string
}

func (*users) ID() string { return "users" }

func (*users) Provides(hook byte) bool {
	return hook == mochi.OnConnectAuthenticate || hook == mochi.OnACLCheck
}

func (u *users) OnConnectAuthenticate(_ *mochi.Client, connect packets.Packet) bool {
	if len(u.passwords) == 0 {
		return true
	}
	password, known := u.passwords[string(connect.Connect.Username)]
	return known && password == string(connect.Connect.Password)
}

func (*users) OnACLCheck(*mochi.Client, string, bool) bool { return true }
