package upgradelink_test

import (
	"context"
	"errors"
	"fmt"

	"otad/ota"
	"otad/transport/upgradelink"
	"otad/transport/upgradelink/upgradelinktest"
)

// A box asks for firmware, twice: the second time it runs the newest.
func ExampleClient_UpgradeURL() {
	server := upgradelinktest.NewServer(upgradelinktest.Options{})
	defer server.Close()
	server.Publish(upgradelinktest.URL, "firmware",
		upgradelinktest.Version{Code: 2, URL: "https://files.example.com/2.swu"},
		upgradelinktest.Strategy{UpgradeType: 2, Models: []string{"stv1"}})

	client, err := upgradelink.New(upgradelink.Options{
		BaseURL:   server.URL,
		AccessKey: upgradelinktest.DemoAccessKey,
		Secret:    upgradelinktest.DemoSecretKey,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for running := int64(1); running <= 2; running++ {
		offer, err := client.UpgradeURL(context.Background(), upgradelink.Query{
			Key: "firmware", VersionCode: running, ModelKey: "stv1", DeviceKey: "00:11:22:33:44:55",
		})
		switch {
		case errors.Is(err, upgradelink.ErrNoOffer):
			fmt.Println(err)
		case err != nil:
			fmt.Println(ota.FaultOf(err).Class, err)
		default:
			fmt.Println(offer.VersionName, offer.UpgradeType, offer.URL)
		}
	}
	// Output:
	// v2 silent https://files.example.com/2.swu
	// cannot ask for an upgrade of url "firmware": the server has nothing for this box
}
