from flexi_socket import FlexiSocket, Connection, Protocol, Mode
