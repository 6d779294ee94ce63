import { render } from "preact";
import { App } from "./app";
import { listenToKeys } from "./keys";
import { begin } from "./session";
import { keepInAddress } from "./view";
import "uplot/dist/uPlot.min.css";
import "./styles/theme.css";
import "./styles/page.css";
import "./styles/header.css";
import "./styles/panel.css";
import "./styles/events.css";

const root = document.getElementById("page");
if (root) {
  keepInAddress();
  listenToKeys();
  render(<App />, root);
  begin();
}
