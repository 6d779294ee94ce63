"""The server touches the world and leaves the computing to the engine; its folders stand in river order."""
