module github.com/thewalletcrew/walletcrew-go/.ci/mutate

go 1.26
