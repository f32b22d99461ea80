class ClientTypes(ClientClassifier):
    client_types = ["001", "002", "003"]

    def classify(self, first_message):
        if first_message.startswith("!!"):
            return ClientTypes.client_types[0]
        elif first_message.startswith("##"):
            return ClientTypes.client_types[1]
        else:
            return ClientClassifier.DEFAULT
