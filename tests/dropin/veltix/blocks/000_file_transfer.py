from veltix import Client, ClientConfig, MessageType, Request

FILE = MessageType(code=201, name="file")

client = Client(ClientConfig(server_addr="192.168.1.100", port=8080))

def send_file(filepath):
    with open(filepath, 'rb') as f:
        data = f.read()
    
    msg = Request(FILE, data)
    client.send(msg.compile())
    print(f"Sent {len(data)} bytes")

client.connect()
send_file("document.pdf")
client.disconnect()
