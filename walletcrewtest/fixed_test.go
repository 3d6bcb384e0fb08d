package walletcrewtest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

func ExampleWithAPIKey() {
	server := walletcrewtest.NewServer(walletcrewtest.WithAPIKey("the key in the configuration"))
	defer server.Close()
	fmt.Println(server.APIKey)
	// Output: the key in the configuration
}

func ExampleWithSecrets() {
	server := walletcrewtest.NewServer(walletcrewtest.WithSecrets("the secret in the configuration"))
	defer server.Close()
	fmt.Println(server.URL != "")
	// Output: true
}

func TestTheFirstWebhooksHaveTheFixedSecretsAndTheOthersRandomOnes(t *testing.T) {
	t.Parallel()
	server := walletcrewtest.NewServer(walletcrewtest.WithAPIKey("fixed-api-key"), walletcrewtest.WithSecrets("first", "second"))
	defer server.Close()
	client := server.Client()
	for range 4 {
		_, err := client.Webhooks.Create(t.Context(), walletcrew.WebhookSpec{Endpoint: "https://shop.example/hook", Events: []walletcrew.EventName{"*"}})
		require.NoError(t, err, "the fixed key works")
	}
	webhooks := server.Webhooks()
	assert.Equal(t, "first", string(webhooks[0].SignatureSecret))
	assert.Equal(t, "second", string(webhooks[1].SignatureSecret))
	assert.Len(t, string(webhooks[2].SignatureSecret), 64)
	assert.NotEqual(t, string(webhooks[2].SignatureSecret), string(webhooks[3].SignatureSecret))
}
