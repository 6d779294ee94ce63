// What a form is about, as the page knows it from what has arrived.

import type { Item } from "../catalogue";
import { catalogue } from "../session";
import { writeForm, type Form } from "./form";
import type { Alert } from "./protocol";
import { panelOf } from "./store";
import { unitOfAlert } from "./words";

/** Whether there is a metric of this very name. */
export const isName = (text: string): boolean => catalogue.find(`metric:${text}`) !== undefined;

export const unitOfPanel = (panel: string): string => catalogue.find(panel)?.unit.value ?? "";
export const unitFor = (alert: Parameters<typeof unitOfAlert>[0]): string => unitOfAlert(alert, unitOfPanel);

/** The metric or event type that a form is about; null where nothing of it has arrived. */
export function itemOf(form: Form, before: Alert | null): Item | null {
  const panel = panelOf(writeForm(form, before, isName));
  return panel === null ? null : (catalogue.find(panel) ?? null);
}
