await socket.send("Your message here")
