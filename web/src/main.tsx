import { render } from "preact";
import { App } from "./app";
import { begin } from "./session";
import "uplot/dist/uPlot.min.css";
import "./styles/theme.css";
import "./styles/page.css";
import "./styles/panel.css";

const root = document.getElementById("page");
if (root) {
  render(<App />, root);
  begin();
}
